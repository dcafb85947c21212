//! What keeps the demo's agent in, and by which name it finds the demo's repository from inside.
//!
//! Invariant: a real model gets no sprite without walls unless that was asked for; the scripted one, whose commands are written
//! in this program, may do without where the machine has none, and the demo says so.

use std::{net::SocketAddr, path::Path};

use crate::{
    all_in_one::own_program,
    cli::Failure,
    config::Config,
    sprite::host::{self, HostError, Isolation},
};

/// The name of the GitHub stand-in, as walled sprites know it.
const GITHUB: &str = "github.demo.test";

/// Tries the walls in `directory`, and takes them from the configuration if no real `model` does the work. One sentence for
/// people.
///
/// # Errors
/// When walls are required and can't be had.
pub async fn choose(config: &mut Config, directory: &Path, model: Option<&str>) -> Result<String, Failure> {
    loop {
        let host = config.sprites.host(directory, "", own_program()?);
        match host::probe(&host, directory).await {
            Ok(level) => return Ok(level.summary),
            Err(error @ HostError::NoIsolation { .. }) if model.is_none() => {
                tracing::warn!(%error, "the scripted agent goes on without walls");
                config.sprites.isolation = Isolation::None;
            }
            Err(error) => return Err(Failure::failed(error.code(), error)),
        }
    }
}

/// Where sprites find the GitHub stand-in that listens at `address`.
pub(super) fn github(config: &mut Config, address: SocketAddr) -> String {
    match config.sprites.isolation {
        Isolation::Required => {
            config.sprites.hosts.insert(GITHUB.into(), address);
            format!("http://{GITHUB}")
        }
        Isolation::None => format!("http://{address}"),
    }
}
