//! The database server: the part of Hrana over HTTP that the edge's client speaks, on SQLite in memory.
//!
//! Invariant: a pipeline is executed in one go, so batches are isolated from each other; the store lies outside of its host,
//! as a disk does, so what was committed outlives every crash of it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, body::Bytes as Body, extract::State, routing::post};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::StatusCode;
use libsql_hrana::proto::{
    BatchCond, BatchResult, BatchStreamResp, CloseStreamResp, Error, PipelineReqBody, PipelineRespBody, Row,
    Stmt, StmtResult, StreamRequest, StreamResponse, StreamResult, Value,
};
use roost_edge::ports::{HttpClient, HttpError};

/// A defect put into the world on purpose, to see that the checks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Every fiftieth transaction is answered and not kept.
    LostCommits,
    /// Appends are not fenced by epoch and place: their guards always hold.
    NoFence,
    /// What may have been sent is sent again without a look.
    NoLook,
}

/// The store of one simulation. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Mutex<Inner>>);

struct Inner {
    connection: libsql::Connection,
    _database: libsql::Database,
    sabotage: Sabotage,
    commits: u64,
}

impl Store {
    /// An empty store.
    ///
    /// # Errors
    /// When SQLite can't be opened.
    pub fn new() -> Result<Self, libsql::Error> {
        let database = at_once(libsql::Builder::new_local(":memory:").build())?;
        let connection = database.connect()?;
        at_once(connection.execute_batch("PRAGMA foreign_keys = ON;"))?;
        Ok(Self(Arc::new(Mutex::new(Inner {
            connection,
            _database: database,
            sabotage: Sabotage::None,
            commits: 0,
        }))))
    }

    /// Puts a defect in.
    pub fn sabotage(&self, sabotage: Sabotage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sabotage = sabotage;
    }

    /// The server.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v3/pipeline", post(pipeline))
            .with_state(self.clone())
    }

    fn answer(&self, body: &[u8]) -> Option<Vec<u8>> {
        let asked: PipelineReqBody = serde_json::from_slice(body).ok()?;
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let results = asked
            .requests
            .iter()
            .map(|request| inner.request(request))
            .collect();
        let answer = PipelineRespBody {
            baton: None,
            base_url: None,
            results,
        };
        serde_json::to_vec(&answer).ok()
    }
}

async fn pipeline(State(store): State<Store>, body: Body) -> Result<Vec<u8>, StatusCode> {
    store.answer(&body).ok_or(StatusCode::BAD_REQUEST)
}

/// Without a network, for what happens before and after the simulation.
impl HttpClient for Store {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>> {
        let answer = self
            .answer(request.body())
            .map(|body| http::Response::new(Bytes::from(body)))
            .ok_or_else(|| HttpError::NotSent("this is not Hrana".to_owned()));
        Box::pin(std::future::ready(answer))
    }
}

impl Inner {
    fn request(&mut self, request: &StreamRequest) -> StreamResult {
        match request {
            StreamRequest::Batch(asked) => {
                let mut result = BatchResult::default();
                for step in &asked.batch.steps {
                    let due = step
                        .condition
                        .as_ref()
                        .is_none_or(|condition| self.holds(condition, &result));
                    let (rows, error) = match due.then(|| self.statement(&step.stmt)) {
                        None => (None, None),
                        Some(Ok(rows)) => (Some(rows), None),
                        Some(Err(error)) => (None, Some(error)),
                    };
                    result.step_results.push(rows);
                    result.step_errors.push(error);
                }
                StreamResult::Ok {
                    response: StreamResponse::Batch(BatchStreamResp { result }),
                }
            }
            StreamRequest::Close(_) => StreamResult::Ok {
                response: StreamResponse::Close(CloseStreamResp {}),
            },
            _ => StreamResult::Error {
                error: failure("only batches are spoken here", "SIMULATED"),
            },
        }
    }

    /// Whether a step is due, by how those before it went.
    fn holds(&self, condition: &BatchCond, so_far: &BatchResult) -> bool {
        let at = |step: &u32| usize::try_from(*step).unwrap_or(usize::MAX);
        match condition {
            BatchCond::Ok { step } => so_far.step_results.get(at(step)).is_some_and(Option::is_some),
            BatchCond::Error { step } => so_far.step_errors.get(at(step)).is_some_and(Option::is_some),
            BatchCond::Not { cond } => !self.holds(cond, so_far),
            BatchCond::And(list) => list.conds.iter().all(|cond| self.holds(cond, so_far)),
            BatchCond::Or(list) => list.conds.iter().any(|cond| self.holds(cond, so_far)),
            BatchCond::IsAutocommit {} => self.connection.is_autocommit(),
            BatchCond::None => false,
        }
    }

    fn statement(&mut self, statement: &Stmt) -> Result<StmtResult, Error> {
        let sql = self.corrupted(statement.sql.as_deref().unwrap_or_default());
        let args: Vec<libsql::Value> = statement.args.iter().map(to_libsql).collect();
        let rows = at_once(fetch(&self.connection, &sql, args)).map_err(|error| match error {
            libsql::Error::SqliteFailure(_, message) => failure(&message, "SQLITE_ERROR"),
            other => failure(&other.to_string(), "SQLITE_ERROR"),
        })?;
        Ok(StmtResult {
            rows,
            ..StmtResult::default()
        })
    }

    /// The statement as the defect has it.
    fn corrupted(&mut self, sql: &str) -> String {
        match self.sabotage {
            Sabotage::LostCommits if sql == "COMMIT" => {
                self.commits += 1;
                let lost = self.commits.is_multiple_of(50);
                if lost { "ROLLBACK" } else { sql }.to_owned()
            }
            Sabotage::NoFence => sql
                .replace("AND r.epoch = ?3 AND r.next_seq = ?4", "AND ?3 + ?4 IS NOT NULL")
                .replace("INSERT INTO events", "INSERT OR REPLACE INTO events"),
            Sabotage::NoLook => sql.replace(
                "UPDATE effects SET state = ?3, due_at = ?4",
                "UPDATE effects SET state = CASE ?3 WHEN 'unknown' THEN 'pending' ELSE ?3 END, due_at = ?4",
            ),
            Sabotage::None | Sabotage::LostCommits => sql.to_owned(),
        }
    }
}

/// SQLite in memory waits for nothing.
fn at_once<T>(work: impl Future<Output = Result<T, libsql::Error>>) -> Result<T, libsql::Error> {
    work.now_or_never().unwrap_or_else(|| {
        Err(libsql::Error::ConnectionFailed(
            "SQLite waits for something".to_owned(),
        ))
    })
}

async fn fetch(
    connection: &libsql::Connection,
    sql: &str,
    args: Vec<libsql::Value>,
) -> Result<Vec<Row>, libsql::Error> {
    let statement = connection.prepare(sql).await?;
    let columns = i32::try_from(statement.column_count()).unwrap_or(0);
    if columns == 0 {
        statement.run(args).await?;
        return Ok(Vec::new());
    }
    let mut found = statement.query(args).await?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().await? {
        let values: Result<Vec<Value>, libsql::Error> = (0..columns)
            .map(|column| row.get_value(column).map(from_libsql))
            .collect();
        rows.push(Row { values: values? });
    }
    Ok(rows)
}

fn failure(message: &str, code: &str) -> Error {
    Error {
        message: message.to_owned(),
        code: code.to_owned(),
    }
}

fn to_libsql(value: &Value) -> libsql::Value {
    match value {
        Value::None | Value::Null => libsql::Value::Null,
        Value::Integer { value } => libsql::Value::Integer(*value),
        Value::Float { value } => libsql::Value::Real(*value),
        Value::Text { value } => libsql::Value::Text(value.to_string()),
        Value::Blob { value } => libsql::Value::Blob(value.to_vec()),
    }
}

fn from_libsql(value: libsql::Value) -> Value {
    match value {
        libsql::Value::Null => Value::Null,
        libsql::Value::Integer(value) => Value::Integer { value },
        libsql::Value::Real(value) => Value::Float { value },
        libsql::Value::Text(value) => Value::Text { value: value.into() },
        libsql::Value::Blob(value) => Value::Blob { value: value.into() },
    }
}
