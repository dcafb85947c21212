//! `cargo xtask bench NAME`: the benchmarks, against the `roost` built beside this program.

use clap::{Parser, Subcommand};
use roost_tests::bench;

#[derive(Parser)]
struct Cli {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Webhooks answered a second, each durable.
    Ack,
    /// From a webhook to its run's request at the model.
    Dispatch,
    /// Roost beside other systems, in one run.
    Peers(bench::peers::Options),
    /// What the sprite host takes for what it does.
    Sprites,
    /// What a turn costs beyond the model and the tool.
    Turn,
}

#[tokio::main]
async fn main() {
    match Cli::parse().what {
        What::Ack => bench::ack::run().await,
        What::Dispatch => bench::dispatch::run().await,
        What::Peers(options) => bench::peers::run(options).await,
        What::Sprites => bench::sprites::run().await,
        What::Turn => bench::turn::run().await,
    }
}
