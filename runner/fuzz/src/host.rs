//! As the runner's `sprite::host`, with what is fuzzed alone.

#[path = "../../src/sprite/host/place.rs"]
mod place;
#[path = "../../src/sprite/host/resolve.rs"]
mod resolve;
#[path = "../../src/sprite/host/resolve_law.rs"]
pub(crate) mod resolve_law;
