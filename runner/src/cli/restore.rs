//! `roost restore`: puts a backup in the place of the database.

use std::path::PathBuf;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::all_in_one::backup::{self, Since};

/// Put a backup in the place of the database
///
/// Stop the edge first: a database in use is not replaced. The backup is checked before anything is touched, and the database
/// that was there is kept beside the new one. The edge needs the master key that the backup's database was used with.
///
/// Nobody knows what was done after the backup: replies that were waiting in it are looked for before they are sent, and runs that
/// were not at their end wait until you resume or cancel them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost restore ./roost-data/roost.db.backup-20260131T120000Z --data ./roost-data
  roost restore /mnt/backups/roost-monday.db --database roost.db
  roost restore ./moved.db --nothing-since")]
pub(super) struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    backup: PathBuf,
    /// Nothing happened after the backup, since everything was stopped before it: go on as if nothing had been
    #[arg(long)]
    nothing_since: bool,
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
    let since = if args.nothing_since {
        Since::Nothing
    } else {
        Since::Unknown
    };
    let restored = backup::restore(&config, &args.place.data()?, args.backup, since)?;
    let mut text = format!(
        "{} is restored from {}: {}",
        restored.to.display(),
        restored.from.display(),
        restored.contents()
    );
    if let Some(replaced) = &restored.replaced {
        text = format!("{text}\nThe one before is kept as {}", replaced.display());
    }
    if let Some(doubts) = restored.doubts {
        if doubts.replies_in_doubt > 0 {
            let replies = doubts.replies_in_doubt;
            text = format!("{text}\nReplies that may have been sent since, and are looked for: {replies}");
        }
        if doubts.runs_paused > 0 {
            let runs = doubts.runs_paused;
            text = format!(
                "{text}\nRuns that may have gone on since, and wait to be resumed or cancelled: {runs}"
            );
        }
    }
    args.output.format().print(&restored, &text);
    Ok(Exit::Ok)
}
