//! `roost demo`: the whole of Roost on a temporary directory, doing one real piece of work.
//!
//! Invariant: only the model may be scripted, and then the demo says so. Everything else is what `roost up` runs, set up
//! and watched through the public API like anybody's; and if the work does not go as promised, the demo fails.

mod api;
mod moments;
mod play;
mod promise;
mod repository;
mod script;
mod summary;
mod timeline;
mod walls;

pub use play::{Demo, play};
pub use summary::Summary;
pub use timeline::{Happening, Moment, Paint};
pub use walls::choose as choose_walls;
