//! `roost up`: everything in one process, on a data directory.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, KeyArgs, ListenArgs, LogArgs, PlaceArgs, WallsArgs},
    output::{Format, OutputArgs},
    runner::RunnerArgs,
    shutdown,
};
use crate::{
    all_in_one::{house::House, runtime},
    sprite::host::Isolation,
};

/// Run everything in one process: edge, database, sprites and a runner
///
/// Nothing has to be set up: what is missing in the data directory is made. Ctrl-C and SIGTERM give running work back
/// before it ends; a second one ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  ANTHROPIC_API_KEY=… roost up --data ./roost-data")]
pub(super) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    runner: RunnerArgs,
    #[command(flatten)]
    walls: WallsArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.output.format();
    args.log.start()?;
    let data = args.place.data()?;
    let mut config = args.place.config()?;
    args.listen.lay_over(&mut config);
    args.database.lay_over(&mut config);
    args.key.lay_over(&mut config);
    args.runner.lay_over(&mut config);
    args.walls.lay_over(&mut config);
    runtime()?.block_on(async move {
        let shutdown = shutdown::listen()?;
        let house = House::open(&data, config).await?;
        greet(format, &house, &data)?;
        house.run(shutdown.told(format)).await?;
        Ok(Exit::Ok)
    })
}

/// What keeps agents in.
fn walls(house: &House) -> &'static str {
    match house.isolation() {
        Isolation::Required => "Agents work in isolated sprites.",
        Isolation::None => "Commands of agents run as your user, WITHOUT isolation.",
    }
}

fn greet(format: Format, house: &House, data: &PathBuf) -> Result<(), Failure> {
    let login = house.login()?;
    let data_shown = data.display();
    let ready = json!({ "event": "ready", "url": house.url(), "login": login.url, "data": data });
    let text = format!(
        "Roost is up at {}, its data in {data_shown}\n\
         Sign in (this link works once, for ten minutes; `roost code` makes another):\n  {}\n\
         {} Ctrl-C stops.",
        house.url(),
        login.url,
        walls(house),
    );
    format.print(&ready, &text);
    Ok(())
}
