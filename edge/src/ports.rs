//! The five things a host gives the core, and nothing else: database, outbound HTTP, clock, random bytes and work
//! after the response. Core code never reads a clock, the environment or a socket by itself.
//!
//! All are `Send + Sync` with `Send` futures, so that one axum router serves every host. On the wasm hosts futures
//! are not `Send`; their implementations wrap them, the core doesn't know.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use roost_shared::UnixMillis;

pub use crate::db::Database;

/// The ports of one host.
#[derive(Clone)]
pub struct Ports {
    /// Where everything is stored.
    pub database: Arc<dyn Database>,
    /// Outbound HTTP, for channels.
    pub http: Arc<dyn HttpClient>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Work after the response.
    pub background: Arc<dyn Background>,
}

/// Sends one request and reads the whole answer.
///
/// Bounds every implementation keeps: 30 s per request, 10 MiB per answer, no redirects followed.
pub trait HttpClient: Send + Sync {
    /// Sends `request`; its URI is absolute. An answer of any status is `Ok`.
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>>;
}

/// No answer. The distinction matters to the outbox: what was surely not sent can be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request surely did not reach the server: bad address, refused connection.
    #[error("could not connect: {0}")]
    NotSent(String),
    /// The request may have been acted on: cut connection, time-out.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// Tells the time and lets it pass.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;

    /// Completes after `span`.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;
}

/// Gives random bytes fit for keys.
pub trait Random: Send + Sync {
    /// Fills `buffer` from the host's cryptographic source.
    fn fill(&self, buffer: &mut [u8]);
}

/// Runs work after the response is on its way. The host may drop it: whatever must happen is a row with a due time.
pub trait Background: Send + Sync {
    /// Starts `work`.
    fn spawn(&self, work: BoxFuture<'static, ()>);
}
