//! Tenancy by construction: SQL is reachable only through a handle bound to one workspace.

use std::sync::Arc;

use super::{Database, DbError, Mode, Rows, Statement, Value};

/// A database seen from inside one workspace: argument `?1` of every statement is the workspace's id.
#[derive(Clone)]
pub struct Scope {
    database: Arc<dyn Database>,
    workspace: Arc<str>,
}

impl Scope {
    /// The handle of `workspace`. Only the directory, which knows which database a workspace lives in, makes these.
    pub fn new(database: Arc<dyn Database>, workspace: Arc<str>) -> Self {
        Self { database, workspace }
    }

    /// The workspace.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// A statement: `?1` is the workspace, `args` are `?2` and on.
    pub fn sql(&self, sql: &'static str, args: impl IntoIterator<Item = Value>) -> Statement {
        debug_assert!(
            sql.contains("?1"),
            "a statement that does not name its workspace: {sql}"
        );
        let mut bound = vec![Value::Text(self.workspace.to_string())];
        bound.extend(args);
        Statement::new(sql, bound)
    }

    /// A guard: `?1` is the workspace, `args` are `?2` and on.
    pub fn guard(
        &self,
        code: &'static str,
        sql: &'static str,
        args: impl IntoIterator<Item = Value>,
    ) -> Statement {
        Statement {
            guard: Some(code),
            ..self.sql(sql, args)
        }
    }

    /// Writes a batch; durable when answered.
    ///
    /// # Errors
    /// As [`Database::batch`].
    pub async fn write(&self, statements: Vec<Statement>) -> Result<Vec<Rows>, DbError> {
        self.database.batch(Mode::Write, statements).await
    }

    /// Reads a batch from one snapshot.
    ///
    /// # Errors
    /// As [`Database::batch`].
    pub async fn read(&self, statements: Vec<Statement>) -> Result<Vec<Rows>, DbError> {
        self.database.batch(Mode::Read, statements).await
    }

    /// Reads the rows of one statement.
    ///
    /// # Errors
    /// As [`Database::batch`].
    pub async fn query(
        &self,
        sql: &'static str,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Rows, DbError> {
        let mut results = self.read(vec![self.sql(sql, args)]).await?;
        Ok(results.pop().unwrap_or_default())
    }
}
