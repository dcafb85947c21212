//! The configuration file: what `roost.toml` may say, with the defaults of everything it leaves out.
//!
//! Invariant: `docs/reference/roost.toml` shows every key of these types and no other, with these defaults; a test
//! compares the two. Flags and environment variables are laid over a [`Config`] by the commands, never the other way.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    model::ModelConfig,
    sprite::host::{HostConfig, Isolation, Limits},
};

/// The name of the file in the data directory.
pub const FILE_NAME: &str = "roost.toml";

/// Where a sprite host keeps its sprites in the data directory.
const SPRITE_HOST_DIRECTORY: &str = "sprite-host";

/// The commented file with all defaults.
pub const REFERENCE: &str = include_str!("../../docs/reference/roost.toml");

/// All that can be configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The edge: `roost edge`, `up`, `migrate`, `token`, `code`.
    pub edge: EdgeConfig,
    /// The runner: `roost runner`, `up`.
    pub runner: RunnerConfig,
    /// The sprites: `roost sprites`, and where a runner finds them.
    pub sprites: SpritesConfig,
    /// The models: providers, prices, patience.
    #[serde(skip_serializing)]
    pub models: ModelConfig,
}

/// The native edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people and providers reach it; what it listens on if not given.
    pub public_url: Option<String>,
    /// A file, or the URL of a libSQL server.
    pub database: Option<String>,
    /// Where the server wants one.
    pub database_token: Option<Secret>,
    /// 32 bytes in base 64.
    pub master_key: Option<Secret>,
    /// A file that holds the master key.
    pub master_key_file: Option<PathBuf>,
    /// Seconds a lease lasts without a sign of life from its runner.
    pub lease_s: u64,
    /// Seconds that sending a reply may take before its outcome counts as unknown.
    pub send_within_s: u64,
    /// Leases in a row that may end without a sign of life and without progress; then the run waits for a person.
    pub crash_limit: u32,
    /// Days after which headers and bodies of deliveries are removed; 0: never.
    pub keep_payloads_days: u32,
    /// Whether replies may go to private and loopback addresses.
    pub private_addresses: PrivateAddresses,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            public_url: None,
            database: None,
            database_token: None,
            master_key: None,
            master_key_file: None,
            lease_s: 30,
            send_within_s: 60,
            crash_limit: 5,
            keep_payloads_days: 30,
            private_addresses: PrivateAddresses::Refused,
        }
    }
}

/// Whether the edge may call private and loopback addresses for an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateAddresses {
    /// Never.
    Refused,
    /// For services on one's own network.
    Allowed,
}

/// One runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunnerConfig {
    /// The edge it works for.
    pub edge: String,
    /// Its token.
    pub token: Option<Secret>,
    /// Its name, unique among the processes that share the token; host name and a random number if not given.
    pub name: Option<String>,
    /// Runs it drives at a time.
    pub slots: u32,
    /// Where it listens for the edge's doorbell; without it, it polls.
    pub doorbell_listen: Option<SocketAddr>,
    /// How the edge reaches that doorbell.
    pub doorbell_url: Option<String>,
    /// Milliseconds between two requests to do what is due.
    pub tick_ms: u64,
    /// Seconds that runs may take to reach a safe point when it shuts down.
    pub grace_s: u64,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            edge: "http://127.0.0.1:8080".into(),
            token: None,
            name: None,
            slots: 32,
            doorbell_listen: None,
            doorbell_url: None,
            tick_ms: 1000,
            grace_s: 20,
        }
    }
}

/// A sprite host, from both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpritesConfig {
    /// Where a runner finds the Sprites API.
    pub url: String,
    /// The token on both sides.
    pub token: Option<Secret>,
    /// Where `roost sprites` listens.
    pub listen: SocketAddr,
    /// How others reach it; its sprites answer under names before that.
    pub public_url: Option<String>,
    /// Whether the host walls its sprites in.
    pub isolation: Isolation,
    /// More of its files that every sprite sees, read-only.
    pub shared: Vec<String>,
    /// Names by which sprites reach addresses on the host's own network.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// Sprites it keeps.
    pub max_sprites: usize,
    /// Sprites that run at once.
    pub max_running: usize,
    /// Sprites created within a minute.
    pub creations_per_minute: usize,
    /// Memory of one sprite, in MiB.
    pub memory_mb: u64,
    /// Files of one sprite, in MiB.
    pub disk_mb: u64,
    /// Copies of files for checkpoints of one sprite, in MiB.
    pub checkpoint_mb: u64,
    /// Checkpoints by request that a sprite keeps.
    pub checkpoints: usize,
    /// Automatic checkpoints that a sprite keeps.
    pub auto_checkpoints: usize,
    /// One file of a service's log, in KiB.
    pub service_log_kb: u64,
    /// Processes and threads of one sprite at once.
    pub processes: u64,
}

impl SpritesConfig {
    /// A sprite host as configured, with its sprites in `data` and behind `token`; `init`: the program that walls them in.
    pub fn host(&self, data: &Path, token: &str, init: PathBuf) -> HostConfig {
        let mut host = HostConfig::new(data.join(SPRITE_HOST_DIRECTORY), token, init);
        host.isolation = self.isolation;
        host.shared.clone_from(&self.shared);
        host.hosts.clone_from(&self.hosts);
        host.url.clone_from(&self.public_url);
        host.limits.sprites = self.max_sprites;
        host.limits.running = self.max_running;
        host.limits.creations_per_minute = self.creations_per_minute;
        host.limits.memory_bytes = self.memory_mb.saturating_mul(1 << 20);
        host.limits.disk_bytes = self.disk_mb.saturating_mul(1 << 20);
        host.limits.checkpoint_bytes = self.checkpoint_mb.saturating_mul(1 << 20);
        host.limits.checkpoints = self.checkpoints;
        host.limits.auto_checkpoints = self.auto_checkpoints;
        host.limits.service_log_bytes = self.service_log_kb.saturating_mul(1 << 10);
        host.limits.processes = self.processes;
        host
    }
}

impl Default for SpritesConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            url: "http://127.0.0.1:7420".into(),
            token: None,
            listen: loopback(7420),
            public_url: None,
            isolation: Isolation::Required,
            shared: Vec::new(),
            hosts: BTreeMap::new(),
            max_sprites: limits.sprites,
            max_running: limits.running,
            creations_per_minute: limits.creations_per_minute,
            memory_mb: limits.memory_bytes >> 20,
            disk_mb: limits.disk_bytes >> 20,
            checkpoint_mb: limits.checkpoint_bytes >> 20,
            checkpoints: limits.checkpoints,
            auto_checkpoints: limits.auto_checkpoints,
            service_log_kb: limits.service_log_bytes >> 10,
            processes: limits.processes,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for one use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("{} can't be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something wrong.
    #[error("{}, line {line}: {key}{message}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key, a colon and a blank; empty where there is none.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "config_unreadable",
            Self::Wrong { .. } => "config_wrong",
        }
    }
}

impl Config {
    /// Reads a file that must be there.
    ///
    /// # Errors
    /// When it can't be read, or says something that means nothing here.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(&text, file)
    }

    /// Reads the file of that data directory, if there is one.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_data_directory(data: &Path) -> Result<Self, ConfigError> {
        match Self::read(&data.join(FILE_NAME)) {
            Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            outcome => outcome,
        }
    }

    /// Reads a file's text; `file` is what it is called in errors.
    ///
    /// # Errors
    /// When it says something that means nothing here.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let (line, key) = place(text, at);
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            ConfigError::Wrong {
                file: file.to_owned(),
                line,
                key: key.map(|key| format!("{key}: ")).unwrap_or_default(),
                message,
            }
        })
    }
}

/// The line of a byte, from 1, and the dotted key that is set there, if one is.
fn place(text: &str, at: usize) -> (usize, Option<String>) {
    // A span may begin at the line's first byte, so the line goes on behind it.
    let end = text
        .get(at..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |n| at + n);
    let lines: Vec<&str> = text.get(..end).unwrap_or(text).lines().collect();
    let key = lines.last().and_then(|line| {
        let (key, _) = line.split_once('=')?;
        let table = lines.iter().rev().find_map(|line| {
            let line = line.trim();
            line.strip_prefix('[')?.split(']').next()
        });
        Some(match table {
            Some(table) => format!("{table}.{}", key.trim()),
            None => key.trim().to_owned(),
        })
    });
    (lines.len().max(1), key)
}

#[cfg(test)]
mod tests;
