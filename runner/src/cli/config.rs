//! `roost config`: prints the reference of the configuration file.

use super::{Exit, Failure, output};
use crate::config;

/// Print the configuration file with all defaults and what they mean
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  roost config > roost-data/roost.toml")]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Result<Exit, Failure> {
    output::line(config::REFERENCE.trim_end());
    Ok(Exit::Ok)
}
