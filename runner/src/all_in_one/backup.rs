//! Backing up and restoring the edge's database, where it is a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use roost_edge::{
    db::{
        backup::{self, BackupError, Replaced},
        checkup::Checkup,
        migrate::Schema,
        restored::Doubts,
    },
    host::native::DatabaseAddress,
};
use serde::Serialize;

use super::{database, keys};
use crate::{cli::Failure, clock::now, config::Config};

pub use roost_edge::db::restored::Since;

/// A backup that was made, or one that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// What was copied.
    pub from: PathBuf,
    /// The copy.
    pub to: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// What was in the copy's place and where it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<PathBuf>,
    /// What is in it.
    #[serde(flatten)]
    pub checkup: Checkup,
    /// Of a restored one: what may have been done since its backup.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub doubts: Option<Doubts>,
    /// Where the key is that its secrets are sealed with, as far as is known here.
    pub master_key: Option<PathBuf>,
}

impl Copied {
    /// What was counted in the copy, in words.
    pub fn contents(&self) -> String {
        let Checkup {
            deliveries,
            runs,
            events,
            ..
        } = &self.checkup;
        let schema = match Schema::of(self.checkup.migrations) {
            Schema::Older { found, wanted } => format!(", {found} of {wanted} migrations"),
            Schema::Current | Schema::Newer { .. } => String::new(),
        };
        let megabytes = self.bytes.div_ceil(1_000_000);
        format!("whole; {deliveries} deliveries, {runs} runs, {events} events{schema}, {megabytes} MB")
    }
}

/// Copies the configured database to `to`, or to a dated name beside it.
///
/// # Errors
/// When it is on a server, or can't be copied whole.
pub fn back_up(config: &Config, data: &Path, to: Option<PathBuf>) -> Result<Copied, Failure> {
    let from = file(config, data)?;
    let to = to.unwrap_or_else(|| backup::dated(&from, "backup", now()));
    let checkup = backup::back_up(&from, &to).map_err(failure)?;
    Ok(copied(config, data, from, to, checkup))
}

/// Puts a copy of `backup` in the place of the configured database, and what is there beside it; `since` says what is known of
/// the time after the backup.
///
/// # Errors
/// When the database is on a server or in use, or the backup is not whole.
pub fn restore(config: &Config, data: &Path, backup: PathBuf, since: Since) -> Result<Copied, Failure> {
    let (to, now) = (file(config, data)?, now());
    let aside = backup::dated(&to, "replaced", now);
    let restored = backup::restore(&backup, (&to, &aside), since, now).map_err(failure)?;
    Ok(Copied {
        replaced: (restored.replaced == Replaced::Kept).then_some(aside),
        doubts: Some(restored.doubts),
        ..copied(config, data, backup, to, restored.checkup)
    })
}

fn copied(config: &Config, data: &Path, from: PathBuf, to: PathBuf, checkup: Checkup) -> Copied {
    let in_data = || Some(data.join(keys::KEY_FILE)).filter(|key| key.is_file());
    Copied {
        bytes: fs::metadata(&to).map_or(0, |file| file.len()),
        from,
        to,
        replaced: None,
        checkup,
        doubts: None,
        master_key: match config.edge.master_key {
            Some(_) => None,
            None => config.edge.master_key_file.clone().or_else(in_data),
        },
    }
}

/// The database's file: the configured one, else the data directory's.
fn file(config: &Config, data: &Path) -> Result<PathBuf, Failure> {
    if config.edge.database.is_none() {
        return Ok(data.join(database::FILE));
    }
    match database::address(config)? {
        DatabaseAddress::File(file) => Ok(file),
        DatabaseAddress::Server { url, .. } => Err(Failure::usage(
            "database_on_server",
            format!(
                "{url} is a libSQL server, which is backed up and restored by its own means, not by roost"
            ),
        )),
    }
}

fn failure(error: BackupError) -> Failure {
    Failure::failed(error.code(), error)
}
