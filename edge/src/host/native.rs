//! The native host: axum on tokio, with an embedded libSQL file or a libSQL server.

use std::{
    convert::Infallible,
    future::{Future, IntoFuture},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::serve::ListenerExt;
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use roost_shared::UnixMillis;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    db::{
        DbError,
        embedded::EmbeddedDatabase,
        hrana::{GroupedDatabase, HranaDatabase, InvalidAddress},
    },
    edge::Edge,
    ports::{Background, Clock, Database, HttpClient, HttpError, Ports, Random},
};

/// The longest answer read from a channel.
const ANSWER_LIMIT: usize = 10 << 20;

/// Where a native edge keeps everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAddress {
    /// A libSQL file.
    File(PathBuf),
    /// A libSQL server.
    Server {
        /// `libsql://`, `https://` or `http://`.
        url: String,
        /// Where the server wants one.
        token: Option<String>,
    },
}

/// The native host could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The database can't be opened.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The server's address can't be used.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// No HTTP client: the machine's certificates can't be read.
    #[error("no HTTP client can be made here: {0}")]
    Http(#[from] reqwest::Error),
}

impl DatabaseAddress {
    /// A path, or a URL of a libSQL server.
    pub fn parse(text: &str, token: Option<String>) -> Self {
        if text.contains("://") && !text.starts_with("file://") {
            return Self::Server {
                url: text.to_owned(),
                token,
            };
        }
        Self::File(PathBuf::from(text.strip_prefix("file://").unwrap_or(text)))
    }
}

/// The ports of a native host; call inside a tokio runtime.
///
/// # Errors
/// When the database can't be opened or the address makes no sense. A server that is away is no error here.
pub fn ports(address: &DatabaseAddress) -> Result<Ports, HostError> {
    let http: Arc<dyn HttpClient> = Arc::new(NativeHttp::new()?);
    let (clock, random) = (Arc::new(NativeClock), Arc::new(NativeRandom));
    let database: Arc<dyn Database> = match address {
        DatabaseAddress::File(path) => Arc::new(EmbeddedDatabase::open(path)?),
        DatabaseAddress::Server { url, token } => {
            let server =
                HranaDatabase::new(http.clone(), clock.clone(), random.clone(), url, token.as_deref())?;
            Arc::new(GroupedDatabase::new(server))
        }
    };
    Ok(Ports {
        database,
        http,
        clock,
        random,
        background: Arc::new(NativeBackground),
    })
}

/// How long requests may take to be answered once the edge is told to stop. Streams and held polls are cut then; their
/// readers come back.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves `edge` until `shutdown` completes; then takes no new requests and answers those under way. Meanwhile it does what
/// is due.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // An answer is one small write; it must not wait for the acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY could not be set: {error}");
        }
    });
    let (stopping, mut stopped) = watch::channel(());
    let (closing, ticking) = (edge.clone(), edge.clone());
    let server = axum::serve(listener, edge.router()).with_graceful_shutdown(async move {
        shutdown.await;
        closing.bells.close();
        stopping.send_replace(());
    });
    let drained = async {
        // An error means that the server ended first and dropped the sender.
        let _ = stopped.changed().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = drained => Ok(()),
        never = ticks(ticking) => match never {},
    }
}

/// The timer.
async fn ticks(edge: Arc<Edge>) -> Infallible {
    loop {
        edge.ports.clock.sleep(edge.settings.tick).await;
        if let Err(error) = edge.tick().await {
            tracing::debug!("no tick: {}", error.problem.message);
        }
    }
}

struct NativeHttp(reqwest::Client);

impl NativeHttp {
    fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }
}

impl HttpClient for NativeHttp {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request.map(reqwest::Body::from))
                .map_err(|error| HttpError::NotSent(error.to_string()))?;
            let response = self.0.execute(request).await.map_err(|error| {
                if error.is_connect() || error.is_builder() {
                    HttpError::NotSent(cause(&error))
                } else {
                    HttpError::Unknown(cause(&error))
                }
            })?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = response.headers().clone();
            let mut body = Vec::new();
            let mut chunks = response.bytes_stream();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| HttpError::Unknown(cause(&error)))?;
                if body.len() + chunk.len() > ANSWER_LIMIT {
                    return Err(HttpError::Unknown(format!(
                        "the answer is longer than {ANSWER_LIMIT} bytes"
                    )));
                }
                body.extend_from_slice(&chunk);
            }
            *answer.body_mut() = body.into();
            Ok(answer)
        })
    }
}

/// What lies at the bottom of an error of the HTTP client; on top it says only that sending failed, and where to.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

struct NativeClock;

impl Clock for NativeClock {
    fn now(&self) -> UnixMillis {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

struct NativeRandom;

impl Random for NativeRandom {
    fn fill(&self, buffer: &mut [u8]) {
        rand::fill(buffer);
    }
}

struct NativeBackground;

impl Background for NativeBackground {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }
}
