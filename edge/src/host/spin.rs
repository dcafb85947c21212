//! Spin, and every other runtime that serves wasi:http 0.3.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use http::header::CONTENT_LENGTH;
use http_body_util::BodyDataStream;
use roost_shared::UnixMillis;
use send_wrapper::SendWrapper;
use spin_sdk::{
    http::{FullBody, IntoResponse, Request},
    http_service,
    wasip3::{self, http::types::ErrorCode, random::random::get_random_bytes},
};

use super::wasm::{self, HostPorts, LONGEST_REQUEST};
use crate::ports::{Background, Clock, HttpClient, HttpError, Random};

#[http_service]
async fn fetch(request: Request) -> impl IntoResponse {
    let ports = HostPorts {
        http: Arc::new(SpinHttp),
        clock: Arc::new(SpinClock),
        random: Arc::new(SpinRandom),
        background: Arc::new(AfterResponse),
    };
    // The environment, not Spin's own variables: importing those would keep the component from every other runtime.
    let edge = wasm::edge(ports, |line| eprintln!("{line}"), |name| std::env::var(name).ok());
    wasm::answer(edge, request.map(axum::body::Body::new)).await
}

struct SpinHttp;

impl HttpClient for SpinHttp {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>> {
        let exchange = async {
            let limit = Box::pin(spin_sdk::time::sleep(LONGEST_REQUEST));
            match select(Box::pin(exchange(request)), limit).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(HttpError::Unknown("it took too long".into())),
            }
        };
        SendWrapper::new(exchange).boxed()
    }
}

async fn exchange(request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    // Without it the body would go out in chunks, which not every server takes.
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let request = http::Request::from_parts(head, FullBody::new(body));
    let (head, body) = spin_sdk::http::send(request)
        .await
        .map_err(no_answer)?
        .into_parts();
    Ok(http::Response::from_parts(
        head,
        wasm::read_body(BodyDataStream::new(body)).await?,
    ))
}

fn no_answer(error: ErrorCode) -> HttpError {
    match error {
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::TlsCertificateError
        | ErrorCode::HttpRequestDenied
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestMethodInvalid => HttpError::NotSent(error.to_string()),
        _ => HttpError::Unknown(error.to_string()),
    }
}

struct SpinClock;

impl Clock for SpinClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        SendWrapper::new(spin_sdk::time::sleep(span)).boxed()
    }
}

struct SpinRandom;

impl Random for SpinRandom {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&get_random_bytes(buffer.len() as u64));
    }
}

struct AfterResponse;

impl Background for AfterResponse {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        wasip3::spawn(work);
    }
}
