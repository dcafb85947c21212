//! The bounds of a host: no request can make it hold more than these allow.

use std::time::Duration;

/// Bounds on everything a client can ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sprites on this host.
    pub sprites: usize,
    /// Sprites that run at once: that have a command, a service or a connection.
    pub running: usize,
    /// Sprites created within a minute.
    pub creations_per_minute: usize,
    /// Tunnels, watches of ports, control connections and requests to sprites' own addresses, all together.
    pub connections: usize,
    /// Commands running at once in one sprite.
    pub sessions: usize,
    /// Ended detachable sessions a sprite remembers, so that a client that was away can read the end.
    pub ended_sessions: usize,
    /// How long it remembers them.
    pub ended_for: Duration,
    /// Output kept per session, in bytes; what a client that attaches later can still read.
    pub history_bytes: usize,
    /// One file written through the API, in bytes.
    pub write_bytes: u64,
    /// Entries of one directory listing.
    pub list_entries: usize,
    /// Memory of one sprite's processes together, in bytes, unless its own policy says less.
    pub memory_bytes: u64,
    /// Files of one sprite, in bytes, checkpoints not counted.
    pub disk_bytes: u64,
    /// Copies of files that a sprite's checkpoints may take, in bytes; a copy that shares its blocks counts whole.
    pub checkpoint_bytes: u64,
    /// Processes and threads at once in one sprite.
    pub processes: u64,
    /// Bytes of each of a sprite's file systems in memory (`/run`, `/dev/shm`).
    pub memory_file_bytes: u64,
    /// Entries a request walks through at most: a recursive listing, copy or change of permissions.
    pub tree_entries: usize,
    /// Clients that watch files at once, on the whole host.
    pub watches: usize,
    /// Directories one of them watches.
    pub watched_dirs: usize,
    /// Services that a sprite has.
    pub services: usize,
    /// A file of a service's log, in bytes; the one before it is kept as well.
    pub service_log_bytes: u64,
    /// The first pause before a service that ended is started again; it doubles, up to a minute.
    pub service_pause: Duration,
    /// Checkpoints by request that a sprite keeps.
    pub checkpoints: usize,
    /// Automatic checkpoints that a sprite keeps; the oldest makes room.
    pub auto_checkpoints: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sprites: 1_000,
            running: 256,
            creations_per_minute: 1_200,
            connections: 4_096,
            sessions: 128,
            ended_sessions: 32,
            ended_for: Duration::from_secs(600),
            history_bytes: 1 << 20,
            write_bytes: 1 << 30,
            list_entries: 50_000,
            memory_bytes: 4 << 30,
            disk_bytes: 20 << 30,
            checkpoint_bytes: 20 << 30,
            processes: 1_024,
            memory_file_bytes: 64 << 20,
            tree_entries: 1_000_000,
            watches: 64,
            watched_dirs: 8_192,
            services: 32,
            service_log_bytes: 4 << 20,
            service_pause: Duration::from_secs(1),
            checkpoints: 64,
            auto_checkpoints: 8,
        }
    }
}
