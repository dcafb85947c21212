//! Who uses a database file: any number of edges, or one restore.
//!
//! Invariant: a claim lasts as long as its process at most, since the system lets go of it. It is a lock on a file of its
//! own beside the database: closing any other handle on the database itself would take SQLite's own locks away.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::DbError;

/// A hold on a database file; dropping it lets go.
pub(super) struct Claim {
    _lock: File,
}

impl Claim {
    /// Uses the file beside others.
    pub(super) fn shared(database: &Path) -> Result<Self, DbError> {
        let unavailable = |error: io::Error| DbError::Unavailable(format!("{}: {error}", database.display()));
        let lock = lock_file(database).map_err(unavailable)?;
        match lock.try_lock_shared() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DbError::Unavailable("it is being restored".into())),
            Err(TryLockError::Error(error)) => Err(unavailable(error)),
        }
    }

    /// Has the file alone; nothing if somebody uses it.
    pub(super) fn alone(database: &Path) -> io::Result<Option<Self>> {
        let lock = lock_file(database)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn lock_file(database: &Path) -> io::Result<File> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(path))
}
