//! `roost migrate`: brings a database up to date.

use super::{
    Exit, Failure,
    options::{DatabaseArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::all_in_one::{database, runtime};

/// Prepare a database, or bring it up to date
///
/// Applies the migrations that are missing and creates the default workspace. Safe to repeat.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost migrate --database roost.db
  roost migrate --database libsql://roost.example.turso.io --database-token \"$TOKEN\"")]
pub(super) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let mut config = args.place.config()?;
    args.database.lay_over(&mut config);
    let done = runtime()?.block_on(database::migrate(&config))?;
    let text = if done.applied.is_empty() {
        format!("{} is up to date", done.database)
    } else {
        format!("{}: applied {}", done.database, done.applied.join(", "))
    };
    args.output
        .format()
        .print(&done, &format!("{text}; workspace {} is there", done.workspace));
    Ok(Exit::Ok)
}
