//! `cargo xtask fuzz`: libFuzzer on what reads bytes of strangers, with the compiler that builds everything else.
//!
//! Invariant: every target runs for the time it is given and no longer; what it learnt and what it broke stays in the target
//! folder. It always starts from the same seed, so a run of a fresh checkout tells of the code and not of its luck.

use crate::verify::{cargo, step};
use crate::{Failure, Toolbox, run};
use std::fs;
use std::process::Command;

/// The targets of `runner/fuzz`.
const TARGETS: [&str; 2] = ["frame", "resolve"];

/// What puts libFuzzer's counters into the code; the same that cargo-fuzz sets, but for the sanitizers, which want a nightly
/// compiler and find nothing in code without `unsafe`.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1";

/// Paths and frames longer than this do nothing that shorter ones don't.
const MAX_BYTES: usize = 96;

/// Builds the targets and runs each for `seconds`.
pub fn run(toolbox: &Toolbox, seconds: u32) -> Result<(), Failure> {
    step("fuzz: build");
    let target = toolbox.workspace().join("target/fuzz");
    let host = host()?;
    let mut build = cargo(toolbox);
    build
        .args([
            "build",
            "--release",
            "--locked",
            "--bins",
            "--manifest-path",
            "runner/fuzz/Cargo.toml",
        ])
        // Named, so that build scripts and macros, which run while we build, are left without counters.
        .args(["--target", &host])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", RUSTFLAGS);
    run::shown(&mut build)?;
    for name in TARGETS {
        step(&format!("fuzz: {name}, {seconds} s"));
        let (corpus, broken) = (target.join("corpus").join(name), target.join("broken").join(name));
        for folder in [&corpus, &broken] {
            fs::create_dir_all(folder).map_err(Failure::file(folder))?;
        }
        let log = target.join(format!("{name}.log"));
        let mut fuzz = Command::new(target.join(&host).join("release").join(name));
        fuzz.arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={MAX_BYTES}"))
            .args(["-seed=1", "-timeout=10", "-rss_limit_mb=1024"])
            .arg(format!("-artifact_prefix={}/", broken.display()))
            .arg(corpus);
        run::logged(&mut fuzz, &log)?;
        let text = fs::read_to_string(&log).map_err(Failure::file(&log))?;
        let done = text.lines().rfind(|line| line.starts_with("Done "));
        println!(
            "{}",
            done.ok_or_else(|| Failure::Check(format!("{name} ended early; see {}", log.display())))?
        );
    }
    Ok(())
}

/// The target triple of this machine.
fn host() -> Result<String, Failure> {
    let version = run::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failure::Check("rustc does not say which machine it is for".to_owned()))
}
