//! One connection to a database file, with its prepared statements. It blocks: a thread that has one does nothing else.

use std::{collections::HashMap, path::Path};

use futures::executor::block_on;

use super::{DbError, Outcome, Row, Rows, Statement, Value};

/// A batch failed after it had written something.
pub(super) struct HalfDone;

/// The answer when nobody is there any more to give one.
pub(super) fn stopped() -> DbError {
    DbError::Unavailable("it has been closed".into())
}

/// A connection with its prepared statements.
pub(super) struct Connection {
    // Field order is drop order: statements before the connection they belong to.
    prepared: HashMap<String, libsql::Statement>,
    inner: libsql::Connection,
    _database: libsql::Database,
}

impl Connection {
    /// Opens (and creates, where it is missing) the database at `path`.
    pub(super) fn open(path: &Path, pragmas: &str) -> Result<Self, DbError> {
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

    /// Runs one statement whose rows don't matter.
    pub(super) fn run(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.statement(&Statement::new(sql, Vec::new())).map(drop)
    }

    /// Whether no transaction is open.
    pub(super) fn is_autocommit(&self) -> bool {
        self.inner.is_autocommit()
    }

    /// Runs a batch inside the open transaction. What fails while it only reads has nothing to be undone.
    pub(super) fn attempt(&mut self, statements: &[Statement]) -> Result<Outcome, HalfDone> {
        let reads = statements
            .iter()
            .take_while(|statement| statement.guard.is_some())
            .count();
        let mut results = Vec::with_capacity(statements.len());
        for (place, statement) in statements.iter().enumerate() {
            match self.guarded(statement) {
                Ok(rows) => results.push(rows),
                Err(error) if place < reads => return Ok(Err(error)),
                Err(_) => return Err(HalfDone),
            }
        }
        Ok(Ok(results))
    }

    /// Runs a batch inside the open transaction; what it did is undone if it fails.
    pub(super) fn savepoint(&mut self, statements: &[Statement]) -> Outcome {
        self.run("SAVEPOINT batch")?;
        let rows = self.statements(statements);
        if rows.is_err() {
            self.run("ROLLBACK TO batch")?;
        }
        self.run("RELEASE batch")?;
        rows
    }

    /// Runs statements up to the first that fails or is held back.
    pub(super) fn statements(&mut self, statements: &[Statement]) -> Outcome {
        statements
            .iter()
            .map(|statement| self.guarded(statement))
            .collect()
    }

    fn guarded(&mut self, statement: &Statement) -> Result<Rows, DbError> {
        let rows = self.statement(statement)?;
        match statement.guard {
            Some(code) if rows.is_empty() => Err(DbError::Refused { code }),
            _ => Ok(rows),
        }
    }

    /// Runs one statement; its guard is not looked at.
    pub(super) fn statement(&mut self, statement: &Statement) -> Result<Rows, DbError> {
        if !self.prepared.contains_key(statement.sql.as_ref()) {
            let prepared =
                block_on(self.inner.prepare(&statement.sql)).map_err(|error| from_libsql(&error))?;
            self.prepared.insert(statement.sql.to_string(), prepared);
        }
        let Some(prepared) = self.prepared.get(statement.sql.as_ref()) else {
            return Err(stopped());
        };
        let args: Vec<libsql::Value> = statement.args.iter().map(to_libsql).collect();
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

fn to_libsql(value: &Value) -> libsql::Value {
    match value {
        Value::Null => libsql::Value::Null,
        Value::Integer(number) => libsql::Value::Integer(*number),
        Value::Real(number) => libsql::Value::Real(*number),
        Value::Text(text) => libsql::Value::Text(text.clone()),
        Value::Blob(bytes) => libsql::Value::Blob(bytes.to_vec()),
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
