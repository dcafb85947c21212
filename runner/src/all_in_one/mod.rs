//! All in one process: the only module of the runner that knows the edge from inside.
//!
//! Invariant: it starts an edge, prepares its database and signs with its master key; whatever works with the edge after
//! that, the runner in the same process included, speaks to it over HTTP like any other.

pub mod backup;
pub mod database;
pub mod edge;
pub mod house;
pub mod keys;

use crate::cli::Failure;

/// This very program, which walls sprites in as their first process.
///
/// # Errors
/// When the system does not tell where it is.
pub fn own_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        let message = format!("the program can't be found by itself: {error}; mount /proc");
        Failure::failed("own_program", message)
    })
}

/// The runtime everything runs in.
///
/// # Errors
/// When the machine gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("no_runtime", format!("no threads can be started: {error}")))
}
