//! A libSQL server, spoken to by [Hrana 3 over HTTP](https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md):
//! one batch is one request, on every host over the host's own HTTP.
//!
//! The batch is `BEGIN`, the statements, each on the condition that the one before it went well, `COMMIT` on the same
//! condition, and `ROLLBACK` if the commit did not happen.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use libsql_hrana::proto::{
    Batch, BatchCond, BatchResult, BatchStep, BatchStreamReq, BatchStreamResp, CloseStreamReq,
    PipelineReqBody, PipelineRespBody, Stmt, StreamRequest, StreamResponse, StreamResult,
    Value as HranaValue,
};

use super::{Database, DbError, Mode, Row, Rows, Statement, Value};
use crate::ports::HttpClient;

/// What a guard that does not hold makes SQLite complain of: see [`guarded`].
const REFUSAL: &str = "malformed JSON";

/// A database on a libSQL server.
pub struct HranaDatabase {
    http: Arc<dyn HttpClient>,
    pipeline: http::Uri,
    authorization: Option<http::HeaderValue>,
}

/// The address of the libSQL server can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no libSQL server address; give one like libsql://name.example or http://127.0.0.1:8080")]
pub struct InvalidAddress(String);

impl HranaDatabase {
    /// The database at `url` (`libsql://`, `https://` or `http://`), with a token where the server wants one.
    ///
    /// # Errors
    /// When the URL has another scheme or no host, or the token can't stand in a header.
    pub fn new(http: Arc<dyn HttpClient>, url: &str, token: Option<&str>) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(url.to_owned());
        let base = match url.split_once("://").ok_or_else(invalid)? {
            ("libsql", rest) => format!("https://{rest}"),
            ("http" | "https", _) => url.to_owned(),
            _ => return Err(invalid()),
        };
        let pipeline = format!("{}/v3/pipeline", base.trim_end_matches('/'))
            .parse()
            .map_err(|_| invalid())?;
        let authorization = token
            .map(|token| http::HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .map_err(|_| invalid())?;
        Ok(Self {
            http,
            pipeline,
            authorization,
        })
    }

    async fn pipeline(&self, mode: Mode, statements: &[Statement]) -> Result<BatchResult, DbError> {
        let body = PipelineReqBody {
            baton: None,
            requests: vec![
                StreamRequest::Batch(BatchStreamReq {
                    batch: transaction(mode, statements),
                }),
                StreamRequest::Close(CloseStreamReq {}),
            ],
        };
        let body = serde_json::to_vec(&body).map_err(|error| DbError::Sql(error.to_string()))?;
        let mut request = http::Request::new(Bytes::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.pipeline.clone();
        request.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        if let Some(authorization) = &self.authorization {
            request
                .headers_mut()
                .insert(http::header::AUTHORIZATION, authorization.clone());
        }
        let response = self
            .http
            .send(request)
            .await
            .map_err(|error| DbError::Unavailable(error.to_string()))?;
        if !response.status().is_success() {
            return Err(DbError::Unavailable(format!(
                "its server answered {}",
                response.status()
            )));
        }
        let answer: PipelineRespBody = serde_json::from_slice(response.body())
            .map_err(|error| DbError::Unavailable(format!("its server's answer is not Hrana: {error}")))?;
        match answer.results.into_iter().next() {
            Some(StreamResult::Ok {
                response: StreamResponse::Batch(BatchStreamResp { result }),
            }) => Ok(result),
            Some(StreamResult::Error { error }) => Err(from_hrana(error)),
            _ => Err(DbError::Unavailable("its server's answer has no result".into())),
        }
    }
}

impl Database for HranaDatabase {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Rows>, DbError>> {
        Box::pin(async move {
            let mut result = self.pipeline(mode, &statements).await?;
            // Steps are: BEGIN, the statements, COMMIT, ROLLBACK. The first failed one says why nothing happened.
            let failed = result
                .step_errors
                .iter_mut()
                .enumerate()
                .find_map(|(step, error)| Some((step, error.take()?)));
            if let Some((step, error)) = failed {
                let statement = step.checked_sub(1).and_then(|index| statements.get(index));
                return Err(match statement.and_then(|statement| statement.guard) {
                    Some(code) if error.message.contains(REFUSAL) => DbError::Refused { code },
                    _ => from_hrana(error),
                });
            }
            let rows = result.step_results.into_iter().skip(1).take(statements.len());
            Ok(rows
                .map(|step| {
                    let rows = step.map(|step| step.rows).unwrap_or_default();
                    rows.into_iter()
                        .map(|row| Row(row.values.into_iter().map(from_value).collect()))
                        .collect()
                })
                .collect())
        })
    }
}

fn transaction(mode: Mode, statements: &[Statement]) -> Batch {
    let begin = match mode {
        Mode::Read => "BEGIN",
        Mode::Write => "BEGIN IMMEDIATE",
    };
    let mut steps = vec![BatchStep {
        condition: None,
        stmt: Stmt::new(begin, false),
    }];
    let mut push = |stmt, condition| {
        steps.push(BatchStep {
            condition: Some(condition),
            stmt,
        });
    };
    let mut step = 0;
    for statement in statements {
        let sql = if statement.guard.is_some() {
            guarded(&statement.sql)
        } else {
            statement.sql.to_string()
        };
        let mut stmt = Stmt::new(sql, true);
        for arg in &statement.args {
            stmt.bind(to_hrana(arg));
        }
        push(stmt, BatchCond::Ok { step });
        step += 1;
    }
    push(Stmt::new("COMMIT", false), BatchCond::Ok { step });
    let not_committed = BatchCond::Not {
        cond: Box::new(BatchCond::Ok { step: step + 1 }),
    };
    push(Stmt::new("ROLLBACK", false), not_committed);
    Batch {
        steps,
        replication_index: None,
    }
}

/// The guard's `SELECT` as a statement that fails when it yields no row: a batch's conditions know only whether a
/// step failed, and SQL outside triggers has no `RAISE`, so the guard asks for JSON that is none.
fn guarded(sql: &str) -> String {
    format!("SELECT json(iif(EXISTS({sql}), '1', 'refused'))")
}

fn to_hrana(value: &Value) -> HranaValue {
    match value {
        Value::Null => HranaValue::Null,
        Value::Integer(value) => HranaValue::Integer { value: *value },
        Value::Real(value) => HranaValue::Float { value: *value },
        Value::Text(text) => HranaValue::Text {
            value: text.as_str().into(),
        },
        Value::Blob(bytes) => HranaValue::Blob { value: bytes.clone() },
    }
}

fn from_value(value: HranaValue) -> Value {
    match value {
        HranaValue::None | HranaValue::Null => Value::Null,
        HranaValue::Integer { value } => Value::Integer(value),
        HranaValue::Float { value } => Value::Real(value),
        HranaValue::Text { value } => Value::Text(value.to_string()),
        HranaValue::Blob { value } => Value::Blob(value),
    }
}

fn from_hrana(error: libsql_hrana::proto::Error) -> DbError {
    const PASSING: [&str; 6] = [
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_FULL",
        "SQLITE_IOERR",
        "SQLITE_READONLY",
        "SQLITE_CANTOPEN",
    ];
    let passing = PASSING.iter().any(|code| error.code.starts_with(code))
        || error.code.starts_with("TRANSACTION_TIMEOUT")
        || error.code.starts_with("BLOCKED");
    if passing {
        DbError::Unavailable(error.message)
    } else {
        DbError::Sql(error.message)
    }
}
