//! Stand-ins for the services Roost speaks to: they speak the real wire protocols and record what they are asked.
//!
//! Invariant: a stand-in never passes for the real thing; whatever it answers says what it is.

pub mod github;
pub mod model;
mod port;
mod recording;
pub mod telegram;

pub use port::free_port;
