//! `roost runner`: the runner alone.

use std::net::SocketAddr;

use serde_json::json;

use super::{
    Exit, Failure,
    options::{LogArgs, PlaceArgs, put},
    output::OutputArgs,
    shutdown,
};
use crate::{all_in_one::runtime, config::Secret, node::Node, tool};

/// Run a runner: lease runs from an edge and drive them
///
/// It needs its edge's URL, a token made by `roost token runner`, a sprite host (`roost sprites`, or
/// https://api.sprites.dev) and a model provider (ANTHROPIC_API_KEY, OPENAI_API_KEY, OPENAI_BASE_URL, or roost.toml).
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  roost runner --edge https://roost.example --token \"$TOKEN\" \\
    --sprites http://127.0.0.1:7420 --sprites-token \"$SPRITES_TOKEN\"")]
pub(super) struct Args {
    #[command(flatten)]
    runner: RunnerArgs,
    /// The token that the edge knows this runner by
    #[arg(
        long,
        env = "ROOST_RUNNER_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The edge it works for [default: http://127.0.0.1:8080]
    #[arg(long, env = "ROOST_EDGE_URL", value_name = "URL")]
    edge: Option<String>,
    /// Where the Sprites API is [default: http://127.0.0.1:7420]
    #[arg(long, env = "ROOST_SPRITES_URL", value_name = "URL")]
    sprites: Option<String>,
    /// The token of the Sprites API
    #[arg(
        long,
        env = "ROOST_SPRITES_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    sprites_token: Option<String>,
    /// Where to listen for the edge's doorbell; without it, the runner polls
    #[arg(long, env = "ROOST_DOORBELL_LISTEN", value_name = "ADDRESS")]
    doorbell_listen: Option<SocketAddr>,
    /// How the edge reaches the doorbell
    #[arg(long, env = "ROOST_DOORBELL_URL", value_name = "URL")]
    doorbell_url: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `roost runner` and `roost up` share.
#[derive(Debug, clap::Args)]
pub(super) struct RunnerArgs {
    /// The runner's name, unique among running processes [default: the machine's name and a random number]
    #[arg(long, env = "ROOST_RUNNER_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Runs it drives at a time [default: 32]
    #[arg(long, env = "ROOST_SLOTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: Option<u32>,
}

impl RunnerArgs {
    pub(super) fn lay_over(self, config: &mut crate::config::Config) {
        put(&mut config.runner.name, self.name);
        config.runner.slots = self.slots.unwrap_or(config.runner.slots);
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.output.format();
    args.log.start()?;
    let mut config = args.place.config()?;
    args.runner.lay_over(&mut config);
    put(&mut config.runner.token, args.token.map(Secret::from));
    config.runner.edge = args.edge.unwrap_or(config.runner.edge);
    config.sprites.url = args.sprites.unwrap_or(config.sprites.url);
    put(&mut config.sprites.token, args.sprites_token.map(Secret::from));
    put(&mut config.runner.doorbell_listen, args.doorbell_listen);
    put(&mut config.runner.doorbell_url, args.doorbell_url);
    runtime()?.block_on(async move {
        let shutdown = shutdown::listen()?;
        let node = Node::assemble(&config, tool::standard()).await?;
        format.print(
            &json!({ "event": "working", "runner": node.name(), "edge": config.runner.edge }),
            &format!("{} works for {}", node.name(), config.runner.edge),
        );
        node.run(shutdown.told(format)).await?;
        Ok(Exit::Ok)
    })
}
