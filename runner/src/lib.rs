//! The runner: sprites, tools, models and the loop that drives runs with them.

pub mod edge_client;
pub mod fixture;
mod random;
pub mod sprite;
pub mod tool;
pub mod worker;
