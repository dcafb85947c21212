//! The Database port: an atomic batch of statements, and the handle that binds it to one workspace.
//!
//! Invariant: a batch happens whole or not at all, in order, isolated from every other batch. `Ok` from a write batch
//! means durable. There is no other way to the database, so there are no interactive transactions: a decision a batch
//! depends on is a [guard](Statement::guard) inside it, which turns the whole batch into a no-op when it does not hold.

#[cfg(not(target_family = "wasm"))]
pub mod backup;
#[cfg(not(target_family = "wasm"))]
pub mod checkup;
#[cfg(not(target_family = "wasm"))]
mod claim;
#[cfg(not(target_family = "wasm"))]
mod connection;
#[cfg(not(target_family = "wasm"))]
mod copier;
pub(crate) mod directory;
#[cfg(not(target_family = "wasm"))]
mod draft;
#[cfg(not(target_family = "wasm"))]
pub mod embedded;
pub mod hrana;
pub mod migrate;
#[cfg(not(target_family = "wasm"))]
pub mod restored;
mod scope;
mod value;
#[cfg(not(target_family = "wasm"))]
mod write_back;

use std::borrow::Cow;

use futures::future::BoxFuture;

pub use scope::Scope;
pub use value::{Row, Rows, Value, ValueError};

/// What became of a batch: each statement's rows, or why nothing of it happened.
pub type Outcome = Result<Vec<Rows>, DbError>;

/// Runs batches on a libSQL database.
pub trait Database: Send + Sync {
    /// Runs the statements as one transaction and gives each one's rows, in order.
    ///
    /// # Errors
    /// [`DbError::Refused`] when a guard held the batch back; then, as after every error, nothing was written.
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome>;
}

/// What a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only reads, from one snapshot.
    Read,
    /// Writes; durable when answered.
    Write,
}

/// One statement of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// SQL with `?1`, `?2`, … for the arguments. Where it runs often a limit is written as `LIMIT ?2 + 0`: SQLite plans a
    /// statement anew each time a bare `LIMIT ?2` is bound.
    pub sql: Cow<'static, str>,
    /// The arguments.
    pub args: Vec<Value>,
    /// For a guard, the code of the refusal when it yields no row.
    pub guard: Option<&'static str>,
}

impl Statement {
    /// A statement with its arguments.
    pub fn new(sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Self {
        Self {
            sql: sql.into(),
            args,
            guard: None,
        }
    }

    /// A `SELECT` that must yield at least one row; else the batch is undone and answers
    /// [`DbError::Refused`] with `code`.
    pub fn guard(code: &'static str, sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Self {
        Self {
            sql: sql.into(),
            args,
            guard: Some(code),
        }
    }
}

/// A batch that did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// A guard yielded no row.
    #[error("refused: {code}")]
    Refused {
        /// The guard's code.
        code: &'static str,
    },
    /// The database can't be reached, is full or too busy; the same batch may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database says the statement is wrong or breaks a constraint: a defect of ours or a schema that is not ours.
    #[error("the database refused a statement: {0}")]
    Sql(String),
    /// A column did not hold what was expected.
    #[error(transparent)]
    Value(#[from] ValueError),
}
