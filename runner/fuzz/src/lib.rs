//! The parts of the runner that are fuzzed, as they are: the same files, in the same places of the module tree.
//!
//! Invariant: nothing is copied here. The runner as a whole would take minutes to build with counters in every crate; these
//! files need next to nothing.

// What only the rest of the runner calls.
#![allow(dead_code)]

#[path = "../../src/random.rs"]
mod random;
mod sprite;

/// Whether the codec of an exec's frames keeps its law for these bytes; panics if not.
pub fn frame(bytes: &[u8]) {
    sprite::frame_law::holds(bytes);
}

/// Whether the path that these bytes stand for stays in its sprite; panics if not.
pub fn resolve(bytes: &[u8]) {
    sprite::host::resolve_law::holds(bytes);
}
