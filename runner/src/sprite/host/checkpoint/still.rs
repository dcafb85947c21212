//! A sprite that stands still.
//!
//! Invariant: while this is held nothing is started in the sprite and nothing that runs in it goes on.

use std::{collections::BTreeSet, fs};

use tokio::sync::OwnedRwLockWriteGuard;

use crate::sprite::host::sandbox::Frozen;

/// Dropping it lets the sprite's processes go on.
#[derive(Debug)]
pub(super) struct Still {
    /// `None` where nothing ran.
    pub(super) frozen: Option<Frozen>,
    /// Held after the processes go on, never before they stop.
    pub(super) _shut: OwnedRwLockWriteGuard<()>,
}

impl Still {
    /// The inodes of all files that processes of the sprite have mapped so that a write to memory is a write to the file.
    /// Such writes need not show in a file's times. Blocks shortly.
    pub(super) fn shared_mappings(&self) -> BTreeSet<u64> {
        let processes = self.frozen.as_ref().map(Frozen::processes).unwrap_or_default();
        let maps = processes
            .into_iter()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).ok());
        let mut inodes = BTreeSet::new();
        for map in maps {
            // address permissions offset device inode path
            inodes.extend(map.lines().filter_map(|line| {
                let mut fields = line.split_ascii_whitespace();
                let shared = fields.nth(1)?.ends_with('s');
                let inode: u64 = fields.nth(2)?.parse().ok()?;
                (shared && inode != 0).then_some(inode)
            }));
        }
        inodes
    }
}
