//! As the runner's `sprite`, with what is fuzzed alone.

#[path = "../../src/sprite/frame.rs"]
mod frame;
#[path = "../../src/sprite/frame_law.rs"]
pub(crate) mod frame_law;
#[path = "host.rs"]
pub(crate) mod host;

/// Any directory of a sprite's own would do.
pub(crate) const HOME: &str = "/home/sprite";
