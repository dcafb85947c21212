//! The embedded database: one libSQL file, one writer thread, group commit.
//!
//! Requests that wait while a transaction commits are written together in the next one: many batches, one fsync. A batch
//! that is refused leaves no trace in the others: one whose first guards say no has written nothing yet, and for one that
//! fails later the transaction is undone and its batches are run again, each as a savepoint of its own. A batch is answered
//! only after the fsync that made it durable. Readers have connections of their own and see the last commit.
//!
//! What was committed lies in the write-ahead log until it is copied into the file. A thread of its own copies, so that
//! the writer waits only for the last bit of it, when the log has grown long enough to be begun anew.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{
    Database, DbError, Mode, Outcome, Statement,
    claim::Claim,
    connection::{Connection, HalfDone, stopped},
};

/// Batches that may wait for the writer; more are answered [`DbError::Unavailable`].
const QUEUE: usize = 4096;
/// Batches committed together at most.
const GROUP: usize = 256;
const READERS: usize = 2;
/// How often the log is copied into the file while there is work.
const COPY_EVERY: Duration = Duration::from_millis(50);
/// Pages in the log at which the writer begins it anew.
const LONG_LOG: i64 = 8192;
/// How often a long log is copied in a row, and how few new pages are few enough to leave the rest to the writer.
const PASSES: u32 = 4;
const LITTLE: i64 = 256;

/// A libSQL database in a file of its own.
pub struct EmbeddedDatabase {
    writer: mpsc::Sender<Job>,
    readers: Vec<mpsc::Sender<Job>>,
    next_reader: AtomicUsize,
}

struct Job {
    statements: Vec<Statement>,
    done: oneshot::Sender<Outcome>,
}

impl EmbeddedDatabase {
    /// Opens (and creates, where it is missing) the database at `path`.
    ///
    /// # Errors
    /// When the file can't be opened, is no database, or is being restored.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        // The threads outlive this by a moment; the file is in use until the last of them has let go of it.
        let claim = Arc::new(Claim::shared(path)?);
        let (writer, jobs) = mpsc::channel(QUEUE);
        let log = Arc::new(Log::default());
        let writers_log = log.clone();
        spawn("roost-writer", path, &claim, WRITER_PRAGMAS, move |connection| {
            write_groups(connection, jobs, &writers_log);
        })?;
        spawn("roost-copier", path, &claim, WRITER_PRAGMAS, move |connection| {
            copy_log(connection, &log);
        })?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (reader, jobs) = mpsc::channel(QUEUE);
            spawn("roost-reader", path, &claim, READER_PRAGMAS, move |connection| {
                read_batches(connection, jobs);
            })?;
            readers.push(reader);
        }
        Ok(Self {
            writer,
            readers,
            next_reader: AtomicUsize::new(0),
        })
    }
}

impl Database for EmbeddedDatabase {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome> {
        let queue = match mode {
            Mode::Write => &self.writer,
            Mode::Read => {
                let turn = self.next_reader.fetch_add(1, Ordering::Relaxed);
                &self.readers[turn % self.readers.len()]
            }
        };
        Box::pin(async move {
            let (done, answer) = oneshot::channel();
            queue
                .try_send(Job { statements, done })
                .map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => {
                        DbError::Unavailable("too many requests wait for it".into())
                    }
                    mpsc::error::TrySendError::Closed(_) => stopped(),
                })?;
            answer.await.map_err(|_| stopped())?
        })
    }
}

/// 16 MiB of cache: at most commits SQLite walks the whole hash of it (a balanced page was named beyond the file's end for a
/// moment, and pages there are looked for), so that 64 MiB cost more than they saved.
const WRITER_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16384; \
     PRAGMA temp_store = MEMORY;";
const READER_PRAGMAS: &str = "PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;";

/// Starts a thread that owns one connection; answers once the connection is open.
fn spawn(
    name: &str,
    path: &Path,
    claim: &Arc<Claim>,
    pragmas: &'static str,
    work: impl FnOnce(Connection) + Send + 'static,
) -> Result<(), DbError> {
    let path = PathBuf::from(path);
    let claim = claim.clone();
    let (opened, outcome) = std::sync::mpsc::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            match Connection::open(&path, pragmas) {
                Ok(connection) => {
                    if opened.send(Ok(())).is_ok() {
                        work(connection);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
            drop(claim);
        })
        .map_err(|error| DbError::Unavailable(error.to_string()))?;
    outcome
        .recv_timeout(Duration::from_secs(30))
        .map_err(|_| stopped())?
}

/// What the writer and the thread that copies the log tell each other.
#[derive(Default)]
struct Log {
    /// There are commits that have not been copied.
    grown: AtomicBool,
    /// The log is long and all of it was copied: the moment to begin it anew.
    long: AtomicBool,
    /// The writer is gone.
    closed: AtomicBool,
}

fn write_groups(mut connection: Connection, mut jobs: mpsc::Receiver<Job>, log: &Log) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = Group::of(first);
        let committed = group.write(&mut connection, &mut jobs);
        if committed.is_err() {
            // A failed commit (disk full) may have left the transaction open; if it has not, this says so and no more.
            drop(connection.run("ROLLBACK"));
        }
        group.answer(&committed);
        log.grown.store(true, Ordering::Release);
        if log.long.swap(false, Ordering::AcqRel)
            && let Err(error) = begin_anew(&mut connection)
        {
            tracing::warn!("the write-ahead log could not be begun anew: {error}");
        }
    }
    log.closed.store(true, Ordering::Release);
}

/// Copies what the last commits wrote, so that nothing of the log is needed any more and the next commit begins it anew, unless
/// somebody still reads it: a backup may for minutes, and requests must not wait for that.
fn begin_anew(connection: &mut Connection) -> Result<(), DbError> {
    connection.run("PRAGMA wal_checkpoint(PASSIVE)")
}

/// Batches that are written in one transaction.
struct Group {
    jobs: Vec<Job>,
    results: Vec<Outcome>,
}

impl Group {
    fn of(first: Job) -> Self {
        Self {
            jobs: vec![first],
            results: Vec::new(),
        }
    }

    /// Writes the group, and whoever comes meanwhile, up to and with the commit.
    fn write(&mut self, connection: &mut Connection, jobs: &mut mpsc::Receiver<Job>) -> Result<(), DbError> {
        connection.run("BEGIN IMMEDIATE")?;
        while let Some(job) = self.jobs.get(self.results.len()) {
            match connection.attempt(&job.statements) {
                Ok(result) => self.results.push(result),
                Err(HalfDone) => {
                    // Some failures (disk full) have undone the transaction already; then this says so and no more.
                    drop(connection.run("ROLLBACK"));
                    return self.write_apart(connection);
                }
            }
            if self.jobs.len() == self.results.len()
                && self.jobs.len() < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                self.jobs.push(job);
            }
        }
        connection.run("COMMIT")
    }

    /// Writes the group with a savepoint around each batch, so that what fails can be undone alone.
    fn write_apart(&mut self, connection: &mut Connection) -> Result<(), DbError> {
        self.results.clear();
        connection.run("BEGIN IMMEDIATE")?;
        for job in &self.jobs {
            let result = connection.savepoint(&job.statements);
            if connection.is_autocommit() {
                return result.and(Err(stopped()));
            }
            self.results.push(result);
        }
        connection.run("COMMIT")
    }

    fn answer(self, committed: &Result<(), DbError>) {
        let mut results = self.results.into_iter();
        for job in self.jobs {
            let result = results.next().unwrap_or_else(|| Err(stopped()));
            drop(job.done.send(committed.clone().and(result)));
        }
    }
}

fn copy_log(mut connection: Connection, log: &Log) {
    while !log.closed.load(Ordering::Acquire) {
        thread::sleep(COPY_EVERY);
        if !log.grown.swap(false, Ordering::AcqRel) {
            continue;
        }
        match copy(&mut connection) {
            Ok(long) => log.long.store(long, Ordering::Release),
            Err(error) => tracing::warn!("the write-ahead log could not be copied: {error}"),
        }
    }
}

/// Copies the log; of a long one also what came meanwhile, until that is little: the writer waits for the rest of it. Whether it is
/// long, and all of it but the last commits was copied.
fn copy(connection: &mut Connection) -> Result<bool, DbError> {
    let mut before = 0;
    for _ in 0..PASSES {
        let rows = connection.statement(&Statement::new("PRAGMA wal_checkpoint(PASSIVE)", Vec::new()))?;
        // One row: whether it was blocked, pages in the log, pages copied.
        let number = |column| {
            let row = rows.first();
            row.and_then(|row| row.integer(column).ok()).unwrap_or_default()
        };
        let (pages, copied) = (number(1), number(2));
        // What a reader of an older state keeps from being copied, it keeps from being begun anew as well.
        if pages <= LONG_LOG || copied < pages {
            return Ok(false);
        }
        if pages - before <= LITTLE {
            break;
        }
        before = pages;
    }
    Ok(true)
}

fn read_batches(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let result = connection.run("BEGIN").and_then(|()| {
            let rows = connection.statements(&job.statements);
            connection.run("COMMIT").and(rows)
        });
        drop(job.done.send(result));
    }
}
