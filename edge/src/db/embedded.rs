//! The embedded database: one libSQL file, one writer thread, group commit.
//!
//! Requests that wait while a transaction commits are written together in the next one: many batches, one fsync. Each
//! batch is a savepoint, so that one that is refused leaves no trace in the others. A batch is answered only after the
//! fsync that made it durable. Readers have connections of their own and see the last commit.
//!
//! What was committed lies in the write-ahead log until it is copied into the file. A thread of its own copies, so that
//! the writer waits only for the last bit of it, when the log has grown long enough to be begun anew.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures::{executor::block_on, future::BoxFuture};
use tokio::sync::{mpsc, oneshot};

use super::{Database, DbError, Mode, Row, Rows, Statement, Value};

/// Batches that may wait for the writer; more are answered [`DbError::Unavailable`].
const QUEUE: usize = 4096;
/// Batches committed together at most.
const GROUP: usize = 256;
const READERS: usize = 2;
/// How often the log is copied into the file while there is work.
const COPY_EVERY: Duration = Duration::from_millis(50);
/// Pages in the log at which the writer begins it anew.
const LONG_LOG: i64 = 8192;

/// A libSQL database in a file of its own.
pub struct EmbeddedDatabase {
    writer: mpsc::Sender<Job>,
    readers: Vec<mpsc::Sender<Job>>,
    next_reader: AtomicUsize,
}

type Outcome = Result<Vec<Rows>, DbError>;

struct Job {
    statements: Vec<Statement>,
    done: oneshot::Sender<Outcome>,
}

impl EmbeddedDatabase {
    /// Opens (and creates, where it is missing) the database at `path`.
    ///
    /// # Errors
    /// When the file can't be opened or is no database.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let (writer, jobs) = mpsc::channel(QUEUE);
        let log = Arc::new(Log::default());
        let writers_log = log.clone();
        spawn("roost-writer", path, WRITER_PRAGMAS, move |connection| {
            write_groups(connection, jobs, &writers_log);
        })?;
        spawn("roost-copier", path, WRITER_PRAGMAS, move |connection| {
            copy_log(connection, &log);
        })?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (reader, jobs) = mpsc::channel(QUEUE);
            spawn("roost-reader", path, READER_PRAGMAS, move |connection| {
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
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Rows>, DbError>> {
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

fn stopped() -> DbError {
    DbError::Unavailable("it has been closed".into())
}

const WRITER_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -65536; \
     PRAGMA temp_store = MEMORY;";
const READER_PRAGMAS: &str = "PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;";

/// Starts a thread that owns one connection; answers once the connection is open.
fn spawn(
    name: &str,
    path: &Path,
    pragmas: &'static str,
    work: impl FnOnce(Connection) + Send + 'static,
) -> Result<(), DbError> {
    let path = PathBuf::from(path);
    let (opened, outcome) = std::sync::mpsc::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || match Connection::open(&path, pragmas) {
            Ok(connection) => {
                if opened.send(Ok(())).is_ok() {
                    work(connection);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
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
    /// The log is long and nearly all of it is copied: the moment to begin it anew.
    long: AtomicBool,
    /// The writer is gone.
    closed: AtomicBool,
}

fn write_groups(mut connection: Connection, mut jobs: mpsc::Receiver<Job>, log: &Log) {
    while let Some(first) = jobs.blocking_recv() {
        if let Err(error) = connection.run("BEGIN IMMEDIATE") {
            drop(first.done.send(Err(error)));
            continue;
        }
        let mut group = vec![connection.savepoint(first)];
        while group.len() < GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(connection.savepoint(job));
        }
        let committed = connection.run("COMMIT");
        if committed.is_err() {
            // A failed commit (disk full) may have left the transaction open; if it has not, this says so and no more.
            drop(connection.run("ROLLBACK"));
        }
        for (done, result) in group {
            drop(done.send(committed.clone().and(result)));
        }
        log.grown.store(true, Ordering::Release);
        if log.long.swap(false, Ordering::AcqRel)
            && let Err(error) = connection.run("PRAGMA wal_checkpoint(RESTART)")
        {
            tracing::warn!("the write-ahead log could not be begun anew: {error}");
        }
    }
    log.closed.store(true, Ordering::Release);
}

fn copy_log(mut connection: Connection, log: &Log) {
    while !log.closed.load(Ordering::Acquire) {
        thread::sleep(COPY_EVERY);
        if !log.grown.swap(false, Ordering::AcqRel) {
            continue;
        }
        match connection.statement(Statement::new("PRAGMA wal_checkpoint(PASSIVE)", Vec::new())) {
            // One row: whether it was blocked, pages in the log, pages copied.
            Ok(rows) => {
                let pages = rows
                    .first()
                    .and_then(|row| row.integer(1).ok())
                    .unwrap_or_default();
                log.long.store(pages > LONG_LOG, Ordering::Release);
            }
            Err(error) => tracing::warn!("the write-ahead log could not be copied: {error}"),
        }
    }
}

fn read_batches(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let result = connection.run("BEGIN").and_then(|()| {
            let rows = connection.statements(job.statements);
            connection.run("COMMIT").and(rows)
        });
        drop(job.done.send(result));
    }
}

/// A connection with its prepared statements.
struct Connection {
    // Field order is drop order: statements before the connection they belong to.
    prepared: HashMap<String, libsql::Statement>,
    inner: libsql::Connection,
    _database: libsql::Database,
}

impl Connection {
    fn open(path: &Path, pragmas: &str) -> Result<Self, DbError> {
        let database =
            block_on(libsql::Builder::new_local(path).build()).map_err(|error| from_libsql(&error))?;
        let inner = database.connect().map_err(|error| from_libsql(&error))?;
        block_on(inner.execute_batch(pragmas)).map_err(|error| from_libsql(&error))?;
        Ok(Self {
            prepared: HashMap::new(),
            inner,
            _database: database,
        })
    }

    fn run(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.statement(Statement::new(sql, Vec::new())).map(drop)
    }

    /// Runs a job inside the open transaction; what it did is undone if it fails.
    fn savepoint(&mut self, job: Job) -> (oneshot::Sender<Outcome>, Outcome) {
        let result = self.run("SAVEPOINT batch").and_then(|()| {
            let rows = self.statements(job.statements);
            if rows.is_err() {
                self.run("ROLLBACK TO batch")?;
            }
            self.run("RELEASE batch")?;
            rows
        });
        (job.done, result)
    }

    fn statements(&mut self, statements: Vec<Statement>) -> Result<Vec<Rows>, DbError> {
        let mut results = Vec::with_capacity(statements.len());
        for statement in statements {
            let guard = statement.guard;
            let rows = self.statement(statement)?;
            if let (Some(code), true) = (guard, rows.is_empty()) {
                return Err(DbError::Refused { code });
            }
            results.push(rows);
        }
        Ok(results)
    }

    fn statement(&mut self, statement: Statement) -> Result<Rows, DbError> {
        if !self.prepared.contains_key(statement.sql.as_ref()) {
            let prepared =
                block_on(self.inner.prepare(&statement.sql)).map_err(|error| from_libsql(&error))?;
            self.prepared.insert(statement.sql.to_string(), prepared);
        }
        let Some(prepared) = self.prepared.get(statement.sql.as_ref()) else {
            return Err(stopped());
        };
        let args: Vec<libsql::Value> = statement.args.into_iter().map(to_libsql).collect();
        let result = block_on(fetch(prepared, args)).map_err(|error| from_libsql(&error));
        prepared.reset();
        result
    }
}

async fn fetch(statement: &libsql::Statement, args: Vec<libsql::Value>) -> Result<Rows, libsql::Error> {
    let columns = i32::try_from(statement.column_count()).unwrap_or(0);
    if columns == 0 {
        statement.run(args).await?;
        return Ok(Rows::new());
    }
    let mut found = statement.query(args).await?;
    let mut rows = Rows::new();
    while let Some(row) = found.next().await? {
        let values: Result<Vec<Value>, libsql::Error> = (0..columns)
            .map(|column| row.get_value(column).map(from_value))
            .collect();
        rows.push(Row(values?));
    }
    Ok(rows)
}

fn to_libsql(value: Value) -> libsql::Value {
    match value {
        Value::Null => libsql::Value::Null,
        Value::Integer(number) => libsql::Value::Integer(number),
        Value::Real(number) => libsql::Value::Real(number),
        Value::Text(text) => libsql::Value::Text(text),
        Value::Blob(bytes) => libsql::Value::Blob(bytes.into()),
    }
}

fn from_value(value: libsql::Value) -> Value {
    match value {
        libsql::Value::Null => Value::Null,
        libsql::Value::Integer(number) => Value::Integer(number),
        libsql::Value::Real(number) => Value::Real(number),
        libsql::Value::Text(text) => Value::Text(text),
        libsql::Value::Blob(bytes) => Value::Blob(bytes.into()),
    }
}

/// [SQLite's result codes](https://www.sqlite.org/rescode.html) that pass by themselves or by a person's help:
/// busy, locked, out of memory, read-only, I/O error, full, can't open.
const PASSING: [i32; 7] = [5, 6, 7, 8, 10, 13, 14];

fn from_libsql(error: &libsql::Error) -> DbError {
    match error {
        libsql::Error::SqliteFailure(code, message) if PASSING.contains(&(code & 0xff)) => {
            DbError::Unavailable(message.clone())
        }
        libsql::Error::ConnectionFailed(message) => DbError::Unavailable(message.clone()),
        other => DbError::Sql(other.to_string()),
    }
}
