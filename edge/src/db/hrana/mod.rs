//! A libSQL server, spoken to by [Hrana 3 over HTTP](https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md):
//! one batch is one request, on every host over the host's own HTTP.
//!
//! Several write batches can share one transaction and one request: see [`HranaDatabase::write_together`].

#[cfg(not(target_family = "wasm"))]
mod group;
mod relay;
mod transaction;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use libsql_hrana::proto::{
    Batch, BatchResult, BatchStreamReq, BatchStreamResp, CloseStreamReq, PipelineReqBody, PipelineRespBody,
    StreamRequest, StreamResponse, StreamResult,
};

use super::{Database, DbError, Mode, Outcome, Statement};
use crate::ports::{Clock, HttpClient, Random};
#[cfg(not(target_family = "wasm"))]
pub use group::GroupedDatabase;
pub use relay::RelayedDatabase;
use transaction::{Transaction, from_hrana, is_busy};

/// Batches of one transaction at most: it is one request, and others wait for its end.
const GROUP: usize = 32;
/// Batches that may wait; more are answered [`DbError::Unavailable`].
const QUEUE: usize = 4096;
/// Times a transaction is begun before a server whose other writers are in the way counts as unavailable.
const TRIES: u32 = 6;
/// The longest pause before the second try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(40);

/// A database on a libSQL server.
pub struct HranaDatabase {
    http: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pipeline: http::Uri,
    authorization: Option<http::HeaderValue>,
}

/// A request without a result.
enum Failed {
    /// The server did not begin it: others take all its connections.
    Busy,
    Otherwise(DbError),
}

impl From<Failed> for DbError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Busy => Self::Unavailable("its server is too busy".into()),
            Failed::Otherwise(error) => error,
        }
    }
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
    pub fn new(
        http: Arc<dyn HttpClient>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        url: &str,
        token: Option<&str>,
    ) -> Result<Self, InvalidAddress> {
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
            clock,
            random,
            pipeline,
            authorization,
        })
    }

    /// Writes several batches in one transaction, each happening whole or not at all, whatever the others do; gives each
    /// one's outcome, in order.
    pub async fn write_together(&self, batches: &[Vec<Statement>]) -> Vec<Outcome> {
        self.run(Mode::Write, batches).await
    }

    async fn run(&self, mode: Mode, batches: &[Vec<Statement>]) -> Vec<Outcome> {
        let mut transaction = Transaction::new(mode, batches);
        let failed = |error: DbError| batches.iter().map(|_| Err(error.clone())).collect();
        let body = match pipeline(transaction.take_batch()) {
            Ok(body) => body,
            Err(error) => return failed(error),
        };
        let mut tries = 1;
        loop {
            let sent = self.send(body.clone()).await;
            let busy = match &sent {
                Ok(result) => is_busy(result),
                Err(failed) => matches!(failed, Failed::Busy),
            };
            if busy && tries < TRIES {
                self.clock.sleep(self.pause(tries)).await;
                tries += 1;
                continue;
            }
            return match sent {
                Ok(result) => transaction.outcomes(result),
                Err(error) => failed(error.into()),
            };
        }
    }

    /// Before another try after so many: anything up to a bound that doubles, so that those who wait don't come together.
    fn pause(&self, tries: u32) -> Duration {
        let mut chance = [0; 4];
        self.random.fill(&mut chance);
        let share = f64::from(u32::from_le_bytes(chance)) / f64::from(u32::MAX);
        (FIRST_PAUSE * 2_u32.pow(tries - 1)).mul_f64(share)
    }

    async fn send(&self, body: Bytes) -> Result<BatchResult, Failed> {
        let mut request = http::Request::new(body);
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
        let unavailable = |why| Failed::Otherwise(DbError::Unavailable(why));
        let response = self
            .http
            .send(request)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let status = response.status();
        if status == http::StatusCode::TOO_MANY_REQUESTS {
            return Err(Failed::Busy);
        }
        if !status.is_success() {
            return Err(unavailable(format!("its server answered {status}")));
        }
        let answer: PipelineRespBody = serde_json::from_slice(response.body())
            .map_err(|error| unavailable(format!("its server's answer is not Hrana: {error}")))?;
        match answer.results.into_iter().next() {
            Some(StreamResult::Ok {
                response: StreamResponse::Batch(BatchStreamResp { result }),
            }) => Ok(result),
            Some(StreamResult::Error { error }) => Err(Failed::Otherwise(from_hrana(error))),
            _ => Err(Failed::Otherwise(no_result())),
        }
    }
}

impl Database for HranaDatabase {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut outcomes = self.run(mode, &[statements]).await;
            outcomes.pop().unwrap_or_else(|| Err(no_result()))
        })
    }
}

/// The body of a request that runs one batch on a stream of its own.
fn pipeline(batch: Batch) -> Result<Bytes, DbError> {
    let body = PipelineReqBody {
        baton: None,
        requests: vec![
            StreamRequest::Batch(BatchStreamReq { batch }),
            StreamRequest::Close(CloseStreamReq {}),
        ],
    };
    let body = serde_json::to_vec(&body).map_err(|error| DbError::Sql(error.to_string()))?;
    Ok(body.into())
}

fn no_result() -> DbError {
    DbError::Unavailable("its server's answer has no result".into())
}
