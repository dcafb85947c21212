//! The brain: the loop that drives a run. Ask the model, run the tools it asks for, journal both, until it is done.
//!
//! Invariant: what the journal does not hold has not happened. A model answer is journaled before anything is done about
//! it, a tool that must not run twice is journaled before it begins, and after a crash the journal alone says how to go on.

mod ask;
mod budget;
mod compact;
pub mod context;
mod conversation;
mod drive;
mod ears;
mod journal;
mod room;
mod sprite;
pub mod sweep;
mod think;
mod work;

pub use drive::{Brain, BrainConfig};
pub use journal::{Journal, Stopped, Store};
