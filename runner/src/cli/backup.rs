//! `roost backup`: copies the database while it is in use.

use std::path::PathBuf;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, KeyArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::all_in_one::backup;

/// Copy the database to a file, while it is in use, and check the copy
///
/// The copy is the database as it was at one moment, in one file that nothing else belongs to. It gets its name once it is
/// whole and on the disk; no file is overwritten. Keep the master key too, elsewhere: without it the secrets in the copy
/// can't be opened. Files of sprites are not in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost backup --data ./roost-data
  roost backup --database roost.db --to /mnt/backups/roost-monday.db --json")]
pub(super) struct Args {
    /// The file to make [default: beside the database, with the time in its name]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let mut config = args.place.config()?;
    args.database.lay_over(&mut config);
    args.key.lay_over(&mut config);
    let made = backup::back_up(&config, &args.place.data()?, args.to)?;
    let key = match &made.master_key {
        Some(file) => format!("{} (the master key)", file.display()),
        None => "the master key".to_owned(),
    };
    let text = format!(
        "{}: {}\nKeep {key} too, elsewhere: without it the secrets in the backup can't be opened.",
        made.to.display(),
        made.contents()
    );
    args.output.format().print(&made, &text);
    Ok(Exit::Ok)
}
