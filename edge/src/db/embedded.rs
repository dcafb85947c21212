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
        atomic::{AtomicUsize, Ordering},
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
    copier::{self, Copier, Log},
};

/// Batches that may wait for the writer; more are answered [`DbError::Unavailable`].
const QUEUE: usize = 4096;
/// Batches committed together at most.
const GROUP: usize = 256;
const READERS: usize = 2;

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
        let open_writer = |path: &Path| Connection::open(path, WRITER_PRAGMAS);
        spawn("roost-writer", path, &claim, open_writer, move |connection| {
            write_groups(connection, jobs, &writers_log);
        })?;
        spawn("roost-copier", path, &claim, Copier::open, move |copier| {
            copier.run(&log);
        })?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (reader, jobs) = mpsc::channel(QUEUE);
            let open_reader = |path: &Path| Connection::open(path, READER_PRAGMAS);
            spawn("roost-reader", path, &claim, open_reader, move |connection| {
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

/// Starts a thread that owns what it opens; answers once that is open.
fn spawn<T>(
    name: &str,
    path: &Path,
    claim: &Arc<Claim>,
    open: impl FnOnce(&Path) -> Result<T, DbError> + Send + 'static,
    work: impl FnOnce(T) + Send + 'static,
) -> Result<(), DbError> {
    let path = PathBuf::from(path);
    let claim = claim.clone();
    let (opened, outcome) = std::sync::mpsc::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            match open(&path) {
                Ok(owned) => {
                    if opened.send(Ok(())).is_ok() {
                        work(owned);
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

fn write_groups(mut connection: Connection, mut jobs: mpsc::Receiver<Job>, log: &Log) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = Group::of(first);
        let committed = group.write(&mut connection, &mut jobs);
        if committed.is_err() {
            // A failed commit (disk full) may have left the transaction open; if it has not, this says so and no more.
            drop(connection.run("ROLLBACK"));
        }
        group.answer(&committed);
        if log.committed()
            && let Err(error) = copier::begin_anew(&mut connection)
        {
            tracing::warn!("the write-ahead log could not be begun anew: {error}");
        }
    }
    log.close();
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

fn read_batches(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let result = connection.run("BEGIN").and_then(|()| {
            let rows = connection.statements(&job.statements);
            connection.run("COMMIT").and(rows)
        });
        drop(job.done.send(result));
    }
}
