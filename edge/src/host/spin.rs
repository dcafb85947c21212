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
use http::{
    header::CONTENT_LENGTH,
    uri::{Authority, PathAndQuery},
};
use http_body_util::{BodyDataStream, Full};
use roost_shared::UnixMillis;
use send_wrapper::SendWrapper;
use spin_sdk::{
    http::{IntoResponse, Request},
    http_service,
    wasip3::{
        self,
        http::{
            client,
            types::{self, ErrorCode},
        },
        http_compat::{BodyWriter, http_from_wasi_response},
        random::random::get_random_bytes,
        wit_bindgen::FutureReader,
    },
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
    let (request, transmission) = outgoing(request).map_err(no_answer)?;
    let answer = client::send(request).await.map_err(no_answer)?;
    let (head, body) = http_from_wasi_response(answer).map_err(no_answer)?.into_parts();
    let body = wasm::read_body(BodyDataStream::new(body)).await;
    // Kept until here: who lets go of it ends the connection, with the answer half read.
    drop(transmission);
    Ok(http::Response::from_parts(head, body?))
}

type Transmission = FutureReader<Result<(), ErrorCode>>;

/// The request as the runtime takes it; its body is on its way. Not the SDK's own conversion, which lets go of the
/// transmission at once.
fn outgoing(request: http::Request<Bytes>) -> Result<(types::Request, Transmission), ErrorCode> {
    let (mut head, body) = request.into_parts();
    // Without it the body would go out in chunks, which not every server takes.
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let (writer, contents, trailers) = BodyWriter::new();
    let headers = head
        .headers
        .try_into()
        .map_err(|_| ErrorCode::HttpProtocolError)?;
    let (request, transmission) = types::Request::new(headers, Some(contents), trailers, None);
    let wrong_address = |()| ErrorCode::HttpRequestUriInvalid;
    request
        .set_method(&head.method.into())
        .map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request
        .set_scheme(head.uri.scheme().map(Into::into).as_ref())
        .map_err(wrong_address)?;
    request
        .set_authority(head.uri.authority().map(Authority::as_str))
        .map_err(wrong_address)?;
    let path = head.uri.path_and_query().map(PathAndQuery::as_str);
    request.set_path_with_query(path).map_err(wrong_address)?;
    wasip3::spawn(async move {
        // A body that cannot be sent shows in the answer.
        drop(writer.send_http_body(&mut Full::new(body)).await);
    });
    Ok((request, transmission))
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
