//! The runner: sprites, tools, models and the loop that drives runs with them.

#![forbid(unsafe_code)]

pub mod all_in_one;
pub mod api_client;
pub mod brain;
pub mod chaos;
pub mod cli;
mod clock;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod edge_client;
pub mod fixture;
pub mod model;
pub mod node;
mod random;
mod reason;
pub mod sprite;
mod sse;
pub mod standin;
pub mod tool;
pub mod worker;
