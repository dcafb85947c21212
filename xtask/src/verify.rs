//! `cargo xtask test` and `cargo xtask ci`: what has to pass, in the order in which it fails cheapest.
//!
//! Invariant: the test runner is the last thing that prints, so its summary is the end of the output.

use crate::edge_build::{self, WasmHost};
use crate::{Failure, Toolbox, fuzz, run, setup};
use std::process::Command;

/// For each fuzz target: long enough to meet every branch again, which they do within one.
const FUZZ_SECONDS: u32 = 5;

/// Sets up what is missing, builds the product, and runs every test.
pub fn test(toolbox: &Toolbox, arguments: &[String]) -> Result<(), Failure> {
    setup::run(toolbox)?;
    build_edge(toolbox, None)?;
    step("build: native binary");
    run::shown(cargo(toolbox).args(["build", "--package", "roost-runner", "--bin", "roost"]))?;
    run::shown(cargo(toolbox).args([
        "build",
        "--package",
        "roost-runner",
        "--features",
        "fail-points",
        "--bin",
        "roost-fail-points",
    ]))?;
    step("test: examples in the documentation");
    run::shown(cargo(toolbox).args(["test", "--doc", "--workspace", "--quiet"]))?;
    step("test: simulation");
    run::shown(simulation(toolbox, "test").arg("--quiet"))?;
    step("test: all");
    let mut nextest = Command::new(toolbox.program("cargo-nextest")?);
    nextest
        .args(["nextest", "run", "--workspace", "--all-targets"])
        .args(arguments);
    run::shown(nextest.current_dir(toolbox.workspace()))
}

/// Builds the edge for `host`, or for both wasm hosts.
pub fn build_edge(toolbox: &Toolbox, host: Option<WasmHost>) -> Result<(), Failure> {
    step("build: the edge as WebAssembly");
    for each in [WasmHost::Workers, WasmHost::Spin] {
        if host.is_none_or(|host| host == each) {
            edge_build::build(toolbox, each)?;
        }
    }
    Ok(())
}

/// Formatting, lints on every host, licences and sources of the dependencies, then all tests.
pub fn ci(toolbox: &Toolbox) -> Result<(), Failure> {
    setup::run(toolbox)?;
    step("ci: format");
    run::shown(cargo(toolbox).args(["fmt", "--all", "--check"]))?;
    let fuzz_manifest = ["--manifest-path", "runner/fuzz/Cargo.toml"];
    run::shown(cargo(toolbox).arg("fmt").args(fuzz_manifest).arg("--check"))?;
    run::shown(cargo(toolbox).args(["fmt", "--manifest-path", "sim/Cargo.toml", "--check"]))?;
    step("ci: dependencies");
    for manifest in ["Cargo.toml", "sim/Cargo.toml"] {
        let mut deny = Command::new(toolbox.program("cargo-deny")?);
        deny.args(["--manifest-path", manifest, "--config", "deny.toml"])
            .args(["--workspace", "--all-features", "--locked"])
            .args(["check", "bans", "licenses", "sources"]);
        run::shown(deny.current_dir(toolbox.workspace()))?;
    }
    step("ci: lints");
    run::shown(cargo(toolbox).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    run::shown(simulation(toolbox, "clippy").args(["--all-targets", "--", "-D", "warnings"]))?;
    for target in ["wasm32-unknown-unknown", "wasm32-wasip2"] {
        step(&format!("ci: lints of the edge for {target}"));
        let clippy = [
            "clippy",
            "--package",
            "roost-edge",
            "--locked",
            "--target",
            target,
            "--",
            "-D",
            "warnings",
        ];
        run::shown(cargo(toolbox).args(clippy))?;
    }
    fuzz::run(toolbox, FUZZ_SECONDS)?;
    test(toolbox, &[])
}

/// A cargo command on the simulation's workspace. It builds into a folder of its own: the edge is a library for other languages,
/// too, and those have no hash in their names, so that the builds of two workspaces would overwrite each other's.
fn simulation(toolbox: &Toolbox, what: &str) -> Command {
    let mut cargo = cargo(toolbox);
    cargo
        .args([what, "--locked", "--manifest-path", "sim/Cargo.toml"])
        .env("CARGO_TARGET_DIR", toolbox.workspace().join("target/sim"));
    cargo
}

/// Builds for speed and lets the chaos loose.
pub fn chaos(toolbox: &Toolbox, kills: u32, seed: u64, more: &[String]) -> Result<(), Failure> {
    let mut build = cargo(toolbox);
    build.args([
        "build",
        "--release",
        "--package",
        "roost-runner",
        "--bin",
        "roost",
    ]);
    run::shown(build.args(["--package", "roost-tests", "--bin", "roost-chaos"]))?;
    let program = toolbox.workspace().join("target/release/roost-chaos");
    let mut chaos = Command::new(program);
    chaos.args(["--kills", &kills.to_string(), "--seed", &seed.to_string()]);
    run::shown(chaos.current_dir(toolbox.workspace()).args(more))
}

/// Prints what comes next.
pub(crate) fn step(what: &str) {
    println!("\n== {what}");
}

pub(crate) fn cargo(toolbox: &Toolbox) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(toolbox.workspace());
    cargo
}
