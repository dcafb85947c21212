//! What the run's agent knows of its files: the content it last read or wrote, as a digest.
//!
//! Invariant: an entry is there only for content the agent has seen whole or has written itself in this run.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::path::AgentPath;

/// A fingerprint of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The files a run has seen.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<AgentPath, Fingerprint>);

impl Seen {
    /// The agent now knows this content.
    pub(super) fn note(&mut self, path: &AgentPath, content: &[u8]) {
        self.0.insert(path.clone(), Fingerprint::of(content));
    }

    /// Whether the agent has seen the file and this is not what it saw.
    pub(super) fn is_stale(&self, path: &AgentPath, content: &[u8]) -> bool {
        self.0
            .get(path)
            .is_some_and(|seen| *seen != Fingerprint::of(content))
    }

    /// Whether the agent has seen the file at all.
    pub(super) fn contains(&self, path: &AgentPath) -> bool {
        self.0.contains_key(path)
    }
}
