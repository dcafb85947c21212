//! `cargo xtask chaos`: the chaos on both databases, against the `roost` built beside this program.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use roost_tests::chaos::{self, Weather};

#[derive(Parser)]
struct Cli {
    /// Processes to kill, half of them on each database.
    #[arg(long)]
    kills: u32,
    /// What decides the faults.
    #[arg(long)]
    seed: u64,
    /// Milliseconds from one fault to the next, on average.
    #[arg(long, default_value_t = 550)]
    pace_ms: u64,
    /// Webhooks a second.
    #[arg(long, default_value_t = 6.0)]
    webhooks: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let weather = Weather {
        kills: cli.kills,
        seed: cli.seed,
        pace: Duration::from_millis(cli.pace_ms),
        webhooks_per_second: cli.webhooks,
    };
    let told = |progress: roost_runner::chaos::Progress| {
        if let Some(text) = progress.sentence() {
            eprintln!("{text}");
        }
    };
    let reports = match chaos::both(weather, told).await {
        Ok(reports) => reports,
        Err(failure) => {
            eprintln!("error: {failure}");
            return ExitCode::FAILURE;
        }
    };
    if cli.json {
        println!("{}", serde_json::to_string(&reports).unwrap_or_default());
    } else {
        println!("chaos · {} kills · {}", cli.kills, roost_tests::bench::machine());
        println!("{}\n{}", reports.file.table(), reports.server.table());
    }
    if reports.are_kept() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
