//! What tests across processes stand on: real programs on free loopback ports, started and surely ended.
//!
//! Invariant: a process that a test started does not outlive the test, and its log is printed when the test fails.

#![forbid(unsafe_code)]
// This crate is tests all through; a broken expectation here is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod bench;
pub mod chaos;
pub mod conformance;
pub mod desk;
pub mod git_server;
pub mod office;
pub mod process;
pub mod roost;
pub mod served;
pub mod sqld;
pub mod wasmtime;
pub mod workerd;

pub use process::Process;
pub use roost::{RoostProcess, binary as roost_binary};
pub use sqld::Sqld;
pub use wasmtime::WasmtimeServe;
pub use workerd::Workerd;

use std::path::PathBuf;
use xtask::Toolbox;

/// The tools that `cargo xtask setup` installed.
///
/// # Panics
/// When they are not there.
pub fn toolbox() -> Toolbox {
    Toolbox::locate().expect("the toolbox can be found")
}

/// A tool of the toolbox by its name.
///
/// # Panics
/// When it is not installed; the message says how to install it.
pub fn tool(name: &str) -> PathBuf {
    toolbox()
        .program(name)
        .unwrap_or_else(|failure| panic!("{failure}"))
}

/// A port of 127.0.0.1 for a program that can't choose one itself, or that comes back on the port it had.
///
/// # Panics
/// When the machine has none.
pub fn free_port() -> u16 {
    roost_runner::standin::free_port().expect("a free port")
}
