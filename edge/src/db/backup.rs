//! Backups of a database file: a copy made while edges use it, and putting such a copy in its place.
//!
//! Invariants: a file under the name of a backup is a whole one, checked and on the disk, for it gets its name last; no file
//! is overwritten; a restore happens while nobody uses the database, and keeps the one it replaces.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use roost_shared::UnixMillis;

use super::{
    DbError, Statement,
    checkup::{Checkup, Depth, check_with},
    claim::Claim,
    connection::Connection,
    draft::{Draft, beside, remove, sync_directory, unusable},
    migrate::Schema,
    restored::{self, Doubts, Since},
};

/// Why there is no backup, or why nothing was restored. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no such file.
    #[error("there is no file {}; check the path", .0.display())]
    Missing(PathBuf),
    /// A file of that name is there.
    #[error("{} exists already; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// A file can't be written, read or named.
    #[error("{} can't be used: {error}; check its directory and rights", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The database can't be read, or its copy not be written.
    #[error("{} could not be copied: {error}; make room or mend what it says, and try again", path.display())]
    Copy {
        /// What was to be copied.
        path: PathBuf,
        /// Why.
        error: DbError,
    },
    /// The copy is not whole, so what was copied is not.
    #[error("{} is damaged: {fault}; take an older backup", path.display())]
    Damaged {
        /// What was copied.
        path: PathBuf,
        /// What is wrong with it first.
        fault: String,
    },
    /// It is a database of something else.
    #[error("{} holds no database of Roost's; check the path", .0.display())]
    Foreign(PathBuf),
    /// It is of a newer version than this program.
    #[error("{} has {found} migrations, this program knows {wanted}; use a newer one", path.display())]
    Newer {
        /// What was copied.
        path: PathBuf,
        /// Migrations applied.
        found: usize,
        /// Migrations this program knows.
        wanted: usize,
    },
    /// An edge, or another restore, uses the database.
    #[error("{} is in use; stop the edge that uses it, then restore again", .0.display())]
    InUse(PathBuf),
}

impl BackupError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "no_such_file",
            Self::Exists(_) => "file_exists",
            Self::File { .. } => "backup_file",
            Self::Copy { .. } => "backup_failed",
            Self::Damaged { .. } => "database_damaged",
            Self::Foreign(_) => "database_foreign",
            Self::Newer { .. } => "schema_newer",
            Self::InUse(_) => "database_in_use",
        }
    }
}

/// A name beside a database that says what the file is and when it was made: `roost.db.backup-20260131T120000Z`.
pub fn dated(database: &Path, what: &str, now: UnixMillis) -> PathBuf {
    let stamp = jiff::Timestamp::from_millisecond(now.0).map_or_else(
        |_| now.0.to_string(),
        |at| at.strftime("%Y%m%dT%H%M%SZ").to_string(),
    );
    beside(database, &format!(".{what}-{stamp}"))
}

/// Copies the database to a new file as it is at one moment, whoever uses it meanwhile, and checks the copy.
///
/// # Errors
/// See [`BackupError`]; there is no file `to` then.
pub fn back_up(database: &Path, to: &Path) -> Result<Checkup, BackupError> {
    must_be_there(database)?;
    if to.exists() {
        return Err(BackupError::Exists(to.into()));
    }
    let draft = Draft::new(beside(to, ".part"))?;
    let checkup = copy(database, draft.path())?;
    draft.link(to)?;
    Ok(checkup)
}

/// Puts a checked copy of `backup` where the database is, brought up to date and prepared for what it does not know. What is
/// there now is kept as `aside`.
///
/// # Errors
/// See [`BackupError`]; the database is as it was then.
pub fn restore(
    backup: &Path,
    (database, aside): (&Path, &Path),
    since: Since,
    now: UnixMillis,
) -> Result<Restored, BackupError> {
    must_be_there(backup)?;
    let claimed = Claim::alone(database).map_err(|error| unusable(database, error))?;
    let _claim = claimed.ok_or_else(|| BackupError::InUse(database.into()))?;
    if aside.exists() {
        return Err(BackupError::Exists(aside.into()));
    }
    let draft = beside(database, ".restoring");
    // Nobody else is at it: it is left over from a restore that was cut off.
    remove(&draft).map_err(|error| unusable(&draft, error))?;
    let draft = Draft::new(draft)?;
    let checkup = copy(backup, draft.path())?;
    let prepared = restored::prepare(draft.path(), checkup.migrations, since, now);
    let doubts = prepared.map_err(|error| BackupError::Copy {
        path: backup.into(),
        error,
    })?;

    let there = database.is_file();
    if there {
        fold(database);
    }
    let replace = || -> io::Result<()> {
        // A log that could not be folded in belongs to what it was written for, and to nothing else.
        let log = beside(database, "-wal");
        if log.exists() {
            fs::rename(&log, beside(aside, "-wal"))?;
        }
        remove(&beside(database, "-shm"))?;
        if there {
            // A second name first, so that there is a database at every moment.
            fs::hard_link(database, aside)?;
        }
        fs::rename(draft.path(), database)?;
        sync_directory(database)
    };
    replace().map_err(|error| unusable(database, error))?;
    let replaced = if there { Replaced::Kept } else { Replaced::Nothing };
    Ok(Restored {
        checkup,
        replaced,
        doubts,
    })
}

/// A database that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What is in the backup.
    pub checkup: Checkup,
    /// What was in its place.
    pub replaced: Replaced,
    /// What may have been done since.
    pub doubts: Doubts,
}

/// What was in the place of a restored database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// Another one, which is kept.
    Kept,
    /// Nothing.
    Nothing,
}

fn must_be_there(from: &Path) -> Result<(), BackupError> {
    if from.is_file() {
        Ok(())
    } else {
        Err(BackupError::Missing(from.into()))
    }
}

/// Copies a database as it is at one moment into `draft`, and sees that the copy is whole, ours, and on the disk.
fn copy(from: &Path, draft: &Path) -> Result<Checkup, BackupError> {
    let failed = |error| BackupError::Copy {
        path: from.into(),
        error,
    };
    let name = draft.to_str().ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
        unusable(draft, error)
    })?;
    let damaged = |fault| BackupError::Damaged {
        path: from.into(),
        fault,
    };
    Connection::open(from, "PRAGMA busy_timeout = 5000;")
        .and_then(|mut source| source.statement(&Statement::new("VACUUM INTO ?1", vec![name.into()])))
        .map_err(|error| match error {
            DbError::Sql(fault) => damaged(fault),
            error => failed(error),
        })?;
    // One file, with no log beside it.
    let checkup = check_with(
        draft,
        "PRAGMA journal_mode = DELETE; PRAGMA query_only = ON;",
        Depth::Whole,
    )
    .map_err(failed)?;
    if let Some(fault) = checkup.faults.first() {
        return Err(damaged(fault.clone()));
    }
    match Schema::of(checkup.migrations) {
        Schema::Older { found: 0, .. } => return Err(BackupError::Foreign(from.into())),
        Schema::Newer { found, wanted } => {
            return Err(BackupError::Newer {
                path: from.into(),
                found,
                wanted,
            });
        }
        Schema::Current | Schema::Older { .. } => {}
    }
    File::open(draft)
        .and_then(|file| file.sync_all())
        .map_err(|error| unusable(draft, error))?;
    Ok(checkup)
}

/// Copies the write-ahead log into its database. A damaged one keeps its log beside it instead.
fn fold(database: &Path) {
    let folded = Connection::open(database, "PRAGMA busy_timeout = 5000;")
        .and_then(|mut connection| connection.run("PRAGMA wal_checkpoint(TRUNCATE)"));
    if let Err(error) = folded {
        tracing::warn!("the database that is replaced can't be opened: {error}");
    }
}
