//! The command line of the developer's tools: `cargo xtask …`.

#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use xtask::bench::Comparison;
use xtask::edge_build::WasmHost;
use xtask::{Failure, Toolbox, bench, flame, fuzz, setup, verify};

/// What a developer of Roost runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_help = "Example: cargo xtask test")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what builds and tests need into the user's cache; quick when all is there.
    Setup,
    /// Build the edge for Cloudflare Workers and for Spin, into `build/`, and print the sizes.
    #[command(after_help = "Example: cargo xtask build-edge workers")]
    BuildEdge {
        /// Only for this host.
        host: Option<WasmHost>,
    },
    /// Set up, build everything, run every test.
    #[command(after_help = "Example: cargo xtask test ingress --no-capture")]
    Test {
        /// Passed to `cargo nextest run`: a filter, `--no-capture`, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure: durable webhooks a second (ack), webhook to model (dispatch), overhead of a turn (turn).
    #[command(after_help = "Examples: cargo xtask bench ack
          cargo xtask bench --peers --only turn --json turn.json")]
    Bench {
        /// What to measure; everything if not said.
        #[arg(conflicts_with = "peers")]
        what: Vec<String>,
        /// Measure other systems in the same run, installing what is missing of them.
        #[arg(long)]
        peers: bool,
        /// Measure only this row beside the peers (may be repeated), and leave docs/benchmarks.md as it is.
        #[arg(long, value_name = "ROW", requires = "peers")]
        only: Vec<String>,
        /// Write all numbers of the comparison into this file.
        #[arg(long, value_name = "FILE", requires = "peers")]
        json: Option<PathBuf>,
    },
    /// Draw where the time of a benchmark goes: needs `perf` (Debian: linux-perf).
    #[command(after_help = "Example: cargo xtask flame ack docs/benchmarks-ack.svg")]
    Flame {
        /// The benchmark.
        #[arg(value_parser = ["ack", "dispatch", "turn"])]
        what: String,
        /// Where the picture goes.
        file: PathBuf,
    },
    /// Kill, stop and cut off real processes while webhooks come in, and count what is lost and what is doubled.
    #[command(after_help = "Example: cargo xtask chaos --kills 1000 --seed 1")]
    Chaos {
        /// Processes to kill, half of them on an embedded database, half on a libSQL server.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
        kills: u32,
        /// What decides the faults; the same faults come again with it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Passed on: `--json`, `--pace-ms N`, `--webhooks N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Feed the parsers of strangers' bytes with bytes nobody thought of, as libFuzzer finds them.
    #[command(after_help = "Example: cargo xtask fuzz --seconds 600")]
    Fuzz {
        /// How long for each target.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// Everything that must pass before a change lands: format, lints, dependencies, tests.
    Ci,
}

fn main() -> ExitCode {
    let task = Cli::parse().task;
    match run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), Failure> {
    let toolbox = Toolbox::locate()?;
    match task {
        Task::Setup => setup::run(&toolbox),
        Task::BuildEdge { host } => {
            setup::run(&toolbox)?;
            verify::build_edge(&toolbox, host)
        }
        Task::Test { arguments } => verify::test(&toolbox, &arguments),
        Task::Bench {
            peers: true,
            only,
            json,
            ..
        } => bench::beside_peers(&toolbox, &Comparison { only, json }),
        Task::Bench { what, .. } => bench::alone(&toolbox, &what),
        Task::Flame { what, file } => flame::run(&toolbox, &what, &file),
        Task::Chaos { kills, seed, more } => verify::chaos(&toolbox, kills, seed, &more),
        Task::Fuzz { seconds } => fuzz::run(&toolbox, seconds),
        Task::Ci => verify::ci(&toolbox),
    }
}
