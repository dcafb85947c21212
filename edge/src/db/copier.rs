//! Copies the write-ahead log into the file, on a thread of its own.
//!
//! Invariant: SQLite alone decides what of the log is needed. It begins the log anew only after all of it was copied, and
//! syncs the file when all of it was. Under load that sync would keep commits from the disk for milliseconds, many times a
//! second; so a read transaction pins the log's newest commits: what is older is copied without a sync, written back in
//! slices between which commits get through, and when SQLite syncs in the end there is little left. If anything of this
//! fails, time is lost and nothing else.

use std::{
    fs::File,
    mem::ManuallyDrop,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{DbError, Statement, connection::Connection, write_back::write_back};

/// How often the log is copied into the file while there is work.
const COPY_EVERY: Duration = Duration::from_millis(50);
/// Pages in the log at which the writer begins it anew.
const LONG_LOG: i64 = 8192;
/// How often a long log is copied in a row, and how few new pages are few enough to leave the rest to the writer.
const PASSES: u32 = 6;
const LITTLE: u64 = 128;

/// What the writer and the thread that copies the log tell each other.
#[derive(Default)]
pub(super) struct Log {
    /// There are commits that have not been copied.
    grown: AtomicBool,
    /// The log is long and all of it but the last commits was copied: the moment to begin it anew.
    long: AtomicBool,
    /// The writer is gone.
    closed: AtomicBool,
}

impl Log {
    /// The writer has committed. Whether it is to [begin the log anew](begin_anew).
    pub(super) fn committed(&self) -> bool {
        self.grown.store(true, Ordering::Release);
        self.long.swap(false, Ordering::AcqRel)
    }

    /// The writer ends.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// Copies what the last commits wrote, so that nothing of the log is needed any more and the next commit begins it anew, unless
/// somebody still reads it: a backup may for minutes, and requests must not wait for that.
pub(super) fn begin_anew(writer: &mut Connection) -> Result<(), DbError> {
    checkpoint(writer).map(drop)
}

/// How much of the log was copied.
struct Copied {
    /// Pages in the log.
    pages: i64,
    /// Those of them that are in the file.
    of_them: i64,
}

fn checkpoint(connection: &mut Connection) -> Result<Copied, DbError> {
    let rows = connection.statement(&Statement::new("PRAGMA wal_checkpoint(PASSIVE)", Vec::new()))?;
    // One row: whether it was blocked, pages in the log, pages copied.
    let number = |column| {
        let row = rows.first();
        row.and_then(|row| row.integer(column).ok()).unwrap_or_default()
    };
    Ok(Copied {
        pages: number(1),
        of_them: number(2),
    })
}

const PRAGMAS: &str = "PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 0;";

/// Copies the log of one database.
pub(super) struct Copier {
    connection: Connection,
    pin: Connection,
    /// Pages of the log that were copied before.
    copied: i64,
    /// Never closed: with any handle on the file that a process closes, the system takes all of SQLite's locks away.
    file: ManuallyDrop<File>,
}

impl Copier {
    /// Opens the database at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, DbError> {
        Ok(Self {
            connection: Connection::open(path, PRAGMAS)?,
            pin: Connection::open(path, PRAGMAS)?,
            copied: 0,
            file: ManuallyDrop::new(
                File::open(path).map_err(|error| DbError::Unavailable(error.to_string()))?,
            ),
        })
    }

    /// Copies until the writer ends.
    pub(super) fn run(mut self, log: &Log) {
        while !log.closed.load(Ordering::Acquire) {
            thread::sleep(COPY_EVERY);
            let long = match log.grown.swap(false, Ordering::AcqRel) {
                true => self.copy(),
                false if self.is_pinned() => self.copy_rest(),
                false => continue,
            };
            match long {
                Ok(long) => log.long.store(long, Ordering::Release),
                Err(error) => tracing::warn!("the write-ahead log could not be copied: {error}"),
            }
        }
    }

    /// Copies the log up to the pin and pins it anew; of a long one also what came meanwhile, until that is little. Whether it
    /// is long, and all of it but the last commits was copied.
    fn copy(&mut self) -> Result<bool, DbError> {
        if !self.is_pinned() {
            return self.pin().map(|()| false);
        }
        let mut pages_before = 0;
        for _ in 0..PASSES {
            let copied = checkpoint(&mut self.connection)?;
            let dirty = self.dirtied(&copied);
            write_back(&self.file, dirty);
            self.unpin()?;
            // What a reader of an older state keeps from being copied, it keeps from being begun anew as well.
            if copied.pages <= LONG_LOG || copied.of_them < pages_before {
                return self.pin().map(|()| false);
            }
            if dirty <= LITTLE {
                return Ok(true);
            }
            self.pin()?;
            pages_before = copied.pages;
        }
        self.unpin().map(|()| true)
    }

    /// Pages of the log that were copied now: those it has more than before, or all it has if it was begun anew.
    fn dirtied(&mut self, copied: &Copied) -> u64 {
        let before = std::mem::replace(&mut self.copied, copied.of_them);
        u64::try_from(copied.of_them - before)
            .or_else(|_| copied.of_them.try_into())
            .unwrap_or_default()
    }

    /// Nobody writes: copies all of the log, so that it can be begun anew.
    fn copy_rest(&mut self) -> Result<bool, DbError> {
        self.unpin()?;
        checkpoint(&mut self.connection).map(|_| false)
    }

    fn is_pinned(&self) -> bool {
        !self.pin.is_autocommit()
    }

    fn pin(&mut self) -> Result<(), DbError> {
        self.pin.run("BEGIN")?;
        self.pin.run("SELECT 1 FROM sqlite_schema LIMIT 1")
    }

    fn unpin(&mut self) -> Result<(), DbError> {
        if self.is_pinned() {
            self.pin.run("COMMIT")?;
        }
        Ok(())
    }
}
