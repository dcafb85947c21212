//! `roost restore`: puts a backup in the place of the database.

use std::path::PathBuf;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::all_in_one::backup;

/// Put a backup in the place of the database
///
/// Stop the edge first: a database in use is not replaced. The backup is checked before anything is touched, and the database
/// that was there is kept beside the new one. The edge needs the master key that the backup's database was used with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost restore ./roost-data/roost.db.backup-20260131T120000Z --data ./roost-data
  roost restore /mnt/backups/roost-monday.db --database roost.db")]
pub(super) struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    backup: PathBuf,
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
    let restored = backup::restore(&config, &args.place.data()?, args.backup)?;
    let mut text = format!(
        "{} is restored from {}: {}",
        restored.to.display(),
        restored.from.display(),
        restored.contents()
    );
    if let Some(replaced) = &restored.replaced {
        text = format!("{text}\nThe one before is kept as {}", replaced.display());
    }
    if restored.is_outdated() {
        text = format!(
            "{text}\nIt is of an older version: `roost up` brings it up to date, before `roost edge` run `roost migrate`"
        );
    }
    args.output.format().print(&restored, &text);
    Ok(Exit::Ok)
}
