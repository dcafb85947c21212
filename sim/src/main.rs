//! `roost-sim`: runs seeds and prints a line for each; ends with 1 if a promise was broken.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use roost_sim::{
    faults::Weather,
    world::{Plan, Report, SimError, run},
};

/// Deterministic simulation of edges, database and runners.
#[derive(Debug, Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Messages per seed.
    #[arg(long, default_value_t = 24)]
    messages: u64,
    /// For how many seconds people write and things break.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Nothing breaks but runners that stand still, and whose words arrive when others have gone on with their runs.
    #[arg(long)]
    zombies: bool,
    /// Print all that happened.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    match simulate(&Options::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(broken) => {
            eprintln!("{broken} promises were broken");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// How many promises were broken.
fn simulate(options: &Options) -> Result<usize, SimError> {
    println!(
        "| seed | faults | accepted, of all | changed | runs; cancelled | paused; asked; tried again | posts; in doubt | leases broken | simulated | broken | digest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut broken = 0;
    for seed in options.seed..options.seed.saturating_add(options.seeds) {
        let report = run(Plan {
            messages: options.messages,
            span: Duration::from_secs(options.seconds),
            weather: if options.zombies {
                Weather::Zombies
            } else {
                Weather::Usual
            },
            ..Plan::new(seed)
        })?;
        if options.trace {
            for line in report.trace.lines() {
                println!("{line}");
            }
        }
        show(&report);
        broken += report.offences.len();
    }
    Ok(broken)
}

fn show(report: &Report) {
    let counts = report.counts;
    println!(
        "| {} | {} | {} of {} | {} | {}; {} | {}; {}; {} | {}; {} | {} | {} s | {} | {} |",
        report.seed,
        report.faults,
        counts.accepted,
        counts.messages,
        counts.changed,
        counts.runs,
        counts.cancelled,
        counts.paused,
        counts.questions,
        counts.tried_again,
        counts.replies,
        counts.in_doubt,
        counts.broken_leases,
        report.elapsed.as_secs(),
        report.offences.len(),
        report.trace.digest(),
    );
    for offence in &report.offences {
        println!("seed {}: {offence}", report.seed);
    }
}
