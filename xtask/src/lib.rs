//! What a developer of Roost runs: set-up, builds of the wasm edges, the architecture check, tests.
//!
//! Invariant: nothing here runs in production, and nothing here needs to be installed by hand; whatever a
//! command needs beyond cargo, a C and C++ compiler, python3 and node is in [`items::ITEMS`] or [`peers::PEERS`].

#![forbid(unsafe_code)]

pub mod architecture;
pub mod bench;
pub mod browser;
pub mod debian;
pub mod edge_build;
pub mod failure;
pub mod flame;
pub mod fuzz;
pub mod install;
pub mod items;
pub mod peers;
pub mod run;
pub mod setup;
pub mod toolbox;
pub mod verify;

pub use failure::Failure;
pub use toolbox::Toolbox;
