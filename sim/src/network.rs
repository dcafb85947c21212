//! HTTP on the simulated network: how every host serves, and how every host calls.
//!
//! Invariant: a call tells what surely was not sent from what may have been acted on, as the port demands; a call has a
//! connection of its own and ends within its patience, for a segment that a partition swallowed never comes again.

use std::{net::Ipv4Addr, panic::AssertUnwindSafe, time::Duration};

use axum::Router;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use roost_edge::ports::{HttpClient, HttpError};
use tokio::{task::JoinSet, time::timeout};
use turmoil::net::{TcpListener, TcpStream};

use crate::trace::{Trace, hash};

/// Where every host listens.
const PORT: u16 = 80;

/// Serves `router` on the host this runs on, for as long as the host lives.
///
/// # Errors
/// When the simulation has no such socket.
pub async fn serve(host: String, router: Router, trace: Trace) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(router.clone());
        let (host, trace) = (host.clone(), trace.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .map(drop);
        tokio::task::spawn_local(async move {
            if AssertUnwindSafe(connection).catch_unwind().await.is_err() {
                trace.panicked(&host);
            }
        });
    }
}

/// One host's way to the others.
#[derive(Debug, Clone)]
pub struct Network {
    host: String,
    patience: Duration,
    trace: Trace,
}

impl Network {
    /// The way of `host`; a call without an answer is given up after `patience`.
    pub fn new(host: &str, patience: Duration, trace: &Trace) -> Self {
        Self {
            host: host.to_owned(),
            patience,
            trace: trace.clone(),
        }
    }

    /// The same with another patience.
    pub fn patient(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Makes a call whose answer is read by the caller.
    ///
    /// # Errors
    /// As the port says.
    pub async fn open(&self, request: http::Request<Bytes>) -> Result<Opened, HttpError> {
        timeout(self.patience, connect(request))
            .await
            .unwrap_or_else(|_| Err(HttpError::Unknown("no answer in time".to_owned())))
    }

    async fn exchange(request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let opened = connect(request).await?;
        let (head, body) = opened.response.into_parts();
        let body = body.collect().await.map_err(unknown)?.to_bytes();
        Ok(http::Response::from_parts(head, body))
    }
}

/// An answer that is still coming; its connection ends when this is dropped.
pub struct Opened {
    /// The answer.
    pub response: http::Response<Incoming>,
    _connection: JoinSet<()>,
}

async fn connect(request: http::Request<Bytes>) -> Result<Opened, HttpError> {
    let not_sent = |text: String| HttpError::NotSent(text);
    let (mut head, body) = request.into_parts();
    let host = head.uri.host().unwrap_or_default().to_owned();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.headers.insert(
        http::header::HOST,
        host.parse().map_err(|_| not_sent(host.clone()))?,
    );
    head.uri = path.parse().map_err(|_| not_sent(path.to_owned()))?;
    let stream = TcpStream::connect((host.as_str(), PORT))
        .await
        .map_err(|error| not_sent(error.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unknown)?;
    let mut driving = JoinSet::new();
    driving.spawn_local(connection.map(drop));
    let request = http::Request::from_parts(head, Full::new(body));
    let response = sender.send_request(request).await.map_err(unknown)?;
    Ok(Opened {
        response,
        _connection: driving,
    })
}

fn unknown(error: hyper::Error) -> HttpError {
    HttpError::Unknown(error.to_string())
}

impl HttpClient for Network {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>> {
        Box::pin(async move {
            let asked = format!("{} {}", request.method(), request.uri());
            let sent = hash(request.body());
            self.trace.note(&self.host, &format!("-> {asked} {sent}"));
            let outcome = timeout(self.patience, Self::exchange(request))
                .await
                .unwrap_or_else(|_| Err(HttpError::Unknown("no answer in time".to_owned())));
            let how = match &outcome {
                Ok(answer) => format!("{} {}", answer.status().as_u16(), hash(answer.body())),
                Err(error) => error.to_string(),
            };
            self.trace.note(&self.host, &format!("<- {asked} {sent}: {how}"));
            outcome
        })
    }
}
