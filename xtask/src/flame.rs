//! `cargo xtask flame`: where a benchmark's time goes, as a flame graph.
//!
//! Invariant: what is drawn is the edge and the runners; the loader and the stand-ins, which run beside them, are left out.

use crate::verify::step;
use crate::{Failure, Toolbox, bench, run};
use inferno::collapse::{Collapse, perf};
use inferno::flamegraph;
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

/// How often a second each thread at work is looked at.
const SAMPLES: &str = "499";

/// Frames narrower than this many percent are not drawn.
const NARROWEST: f64 = 0.2;

/// Builds with frame pointers, records the benchmark `what` and draws the graph into `file`.
pub fn run(toolbox: &Toolbox, what: &str, file: &Path) -> Result<(), Failure> {
    let target = toolbox.workspace().join("target/flame");
    step("flame: build");
    let mut build = bench::release(toolbox);
    build
        .env("CARGO_TARGET_DIR", &target)
        // Not across crates: it builds in a third of the time, and more functions keep a frame of their own.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("RUSTFLAGS", "-C force-frame-pointers=yes");
    run::shown(&mut build)?;
    step(&format!("flame: {what}"));
    let samples = target.join(format!("{what}.perf"));
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--event", "cpu-clock", "--call-graph", "fp"])
        .args(["--freq", SAMPLES, "--output"])
        .arg(&samples)
        .arg("--")
        .arg(target.join("release/roost-bench"))
        .arg(what)
        .current_dir(toolbox.workspace());
    run::shown(&mut perf)?;
    let mut script = Command::new("perf");
    script.args([
        "script",
        "--fields",
        "comm,pid,tid,time,event,ip,sym,dso",
        "--input",
    ]);
    let stacks = run::output(script.arg(&samples))?;
    let picture = draw(what, &stacks)?;
    fs::write(file, picture).map_err(Failure::file(file))?;
    println!("{}", file.display());
    Ok(())
}

/// What `perf script` printed, as a picture.
fn draw(what: &str, stacks: &str) -> Result<Vec<u8>, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Check(format!("no flame graph: {error}"));
    let mut options = perf::Options::default();
    options.include_pid = true;
    let mut folded = Vec::new();
    perf::Folder::from(options)
        .collapse(Cursor::new(stacks), &mut folded)
        .map_err(|error| broken(&error))?;
    let folded = String::from_utf8_lossy(&folded);
    let kept = of_the_measured(&folded);
    let mut options = flamegraph::Options::default();
    options.title =
        format!("cargo xtask bench {what}: the processor time of the edge and of runners, by thread");
    options.count_name = format!("samples, {SAMPLES} a second");
    options.min_width = NARROWEST;
    let mut picture = Vec::new();
    flamegraph::from_lines(&mut options, kept.iter().map(String::as_str), &mut picture)
        .map_err(|error| broken(&error))?;
    Ok(picture)
}

/// The folded stacks of the processes whose first thread is called `roost`, without their process ids.
fn of_the_measured(folded: &str) -> Vec<String> {
    let lines = || folded.lines().filter_map(process);
    let measured: BTreeSet<&str> = lines()
        .filter(|(thread, ..)| *thread == "roost")
        .map(|(_, pid, _)| pid)
        .collect();
    let kept = lines().filter(|(_, pid, _)| measured.contains(pid));
    kept.map(|(thread, _, rest)| format!("{thread};{rest}")).collect()
}

/// A line `THREAD-PID;frame;frame … COUNT`, taken apart.
fn process(line: &str) -> Option<(&str, &str, &str)> {
    let (process, rest) = line.split_once(';')?;
    let (thread, pid) = process.rsplit_once('-')?;
    Some((thread, pid, rest))
}

#[cfg(test)]
mod tests {
    use super::of_the_measured;

    #[test]
    fn loaders_and_stand_ins_are_left_out() {
        let folded =
            "roost-7;main 1\nroost-writer-7;commit;fsync 5\nroost-bench-3;main 2\ntokio-rt-worker-3;load 9\n";
        assert_eq!(
            of_the_measured(folded),
            ["roost;main 1", "roost-writer;commit;fsync 5"]
        );
    }
}
