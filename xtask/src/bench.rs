//! `cargo xtask bench`: builds for speed, then measures Roost alone, or beside its peers.

use crate::{Failure, Toolbox, peers, run, setup, verify};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds for speed and runs the benchmarks named, or all of them.
pub fn alone(toolbox: &Toolbox, what: &[String]) -> Result<(), Failure> {
    build(toolbox)?;
    let all = ["ack", "dispatch", "turn", "sprites"].map(str::to_owned);
    for name in if what.is_empty() { &all } else { what } {
        run::shown(program(toolbox).arg(name))?;
    }
    Ok(())
}

/// Which rows are measured beside the peers, and where the numbers go.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// The rows by name; all of them if none is named.
    pub only: Vec<String>,
    /// A file for all numbers, as JSON.
    pub json: Option<PathBuf>,
}

/// Sets up, installs the peers, builds everything for speed, and measures them and Roost in one run. A run of all rows
/// writes its tables into docs/benchmarks.md.
pub fn beside_peers(toolbox: &Toolbox, comparison: &Comparison) -> Result<(), Failure> {
    setup::run(toolbox)?;
    peers::install(toolbox)?;
    verify::build_edge(toolbox, None)?;
    verify::step("build: native binary and benchmarks");
    build(toolbox)?;
    verify::step("bench: side by side");
    let mut bench = program(toolbox);
    bench.arg("peers");
    for row in &comparison.only {
        bench.args(["--only", row]);
    }
    if let Some(json) = &comparison.json {
        let from_here = std::path::absolute(json).map_err(Failure::file(json))?;
        bench.arg("--json").arg(from_here);
    }
    if comparison.only.is_empty() {
        bench.arg("--docs").arg(Path::new("docs"));
    }
    run::shown(&mut bench)
}

fn build(toolbox: &Toolbox) -> Result<(), Failure> {
    run::shown(&mut release(toolbox))
}

/// The build of what is measured and of what measures it.
pub(crate) fn release(toolbox: &Toolbox) -> Command {
    let mut build = verify::cargo(toolbox);
    build
        .args(["build", "--release"])
        .args(["--package", "roost-runner", "--bin", "roost"])
        .args(["--package", "roost-tests", "--bin", "roost-bench"]);
    build
}

fn program(toolbox: &Toolbox) -> Command {
    let mut program = Command::new(toolbox.workspace().join("target/release/roost-bench"));
    program.current_dir(toolbox.workspace());
    program
}
