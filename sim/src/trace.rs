//! The trace: all that happened, in the order in which it happened, and its digest.
//!
//! Invariant: whatever two runs of a seed could do differently and anybody could notice goes through a request, an answer, a
//! boot or a fault, and each of them is a line here, with its moment and a hash of its body. So equal digests mean equal runs.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

/// What happened so far. Clones write to the same trace.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    panics: usize,
}

impl Trace {
    /// Adds a line of `host`, at its own moment of the simulation.
    pub fn note(&self, host: &str, what: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        self.line(format!("{at:>7} {host} {what}"));
    }

    /// Adds a line of the simulation itself.
    pub fn fault(&self, at: std::time::Duration, what: &str) {
        self.line(format!("{:>7} * {what}", at.as_millis()));
    }

    /// Adds a line about a host that panicked.
    pub fn panicked(&self, host: &str) {
        self.note(host, "PANICKED");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).panics += 1;
    }

    fn line(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .push(line);
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .clone()
    }

    /// How often a host panicked.
    pub fn panics(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).panics
    }

    /// The first 16 hexadecimal digits of the SHA-256 of all lines.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for line in &self.0.lock().unwrap_or_else(PoisonError::into_inner).lines {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        short(&hash.finalize())
    }
}

/// A hash of a body, for a line.
pub fn hash(body: &[u8]) -> String {
    short(&Sha256::digest(body))
}

fn short(digest: &[u8]) -> String {
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
