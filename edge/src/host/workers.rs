//! Cloudflare Workers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use roost_shared::UnixMillis;
use send_wrapper::SendWrapper;
use worker::{
    Context, Delay, Env, Fetch, HttpRequest, HttpResponse, RequestInit, RequestRedirect, ScheduleContext,
    ScheduledEvent, event, js_sys::Uint8Array,
};

use super::wasm::{self, HostPorts, LONGEST_REQUEST};
use crate::{
    edge::Edge,
    error::ApiError,
    ports::{Background, Clock, HttpClient, HttpError, Random},
};

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, context: Context) -> worker::Result<axum::response::Response> {
    let request = request.map(axum::body::Body::new);
    Ok(wasm::answer(edge(&env, Arc::new(AfterFetch(context))), request).await)
}

/// The cron trigger: does what is due.
#[event(scheduled)]
async fn scheduled(_: ScheduledEvent, env: Env, context: ScheduleContext) {
    let done = match edge(&env, Arc::new(AfterTick(SendWrapper::new(context)))) {
        Ok(edge) => edge.tick().await,
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        worker::console_error!("the tick failed: {}", error.problem.message);
    }
}

fn edge(env: &Env, background: Arc<dyn Background>) -> Result<Arc<Edge>, ApiError> {
    let ports = HostPorts {
        http: Arc::new(WorkersHttp),
        clock: Arc::new(WorkersClock),
        random: Arc::new(WorkersRandom),
        background,
    };
    let log = |line: &str| worker::console_error!("{line}");
    wasm::edge(ports, log, |name| {
        env.var(name).ok().map(|value| value.to_string())
    })
}

struct WorkersHttp;

impl HttpClient for WorkersHttp {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>> {
        let exchange = async {
            match select(Box::pin(exchange(request)), Delay::from(LONGEST_REQUEST)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(HttpError::Unknown("it took too long".into())),
            }
        };
        SendWrapper::new(exchange).boxed()
    }
}

async fn exchange(request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let unknown = |error: worker::Error| HttpError::Unknown(error.to_string());
    let (head, body) = request.into_parts();
    // Converting such a header panics, which ends the whole instance.
    if head.headers.values().any(|value| value.to_str().is_err()) {
        return Err(HttpError::NotSent(
            "a header holds other characters than visible ASCII".into(),
        ));
    }
    let mut init = RequestInit::new();
    init.with_method(head.method.as_str().to_owned().into())
        .with_headers((&head.headers).into())
        .with_redirect(RequestRedirect::Manual);
    if !body.is_empty() {
        // A whole array, not a stream: a stream would go out in chunks, which not every server takes.
        init.with_body(Some(Uint8Array::from(body.as_ref()).into()));
    }
    let request = worker::Request::new_with_init(&head.uri.to_string(), &init)
        .map_err(|error| HttpError::NotSent(error.to_string()))?;
    let answer = Fetch::Request(request).send().await.map_err(unknown)?;
    let (head, body) = HttpResponse::try_from(answer).map_err(unknown)?.into_parts();
    Ok(http::Response::from_parts(head, wasm::read_body(body).await?))
}

struct WorkersClock;

impl Clock for WorkersClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(i64::try_from(worker::Date::now().as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        SendWrapper::new(Delay::from(span)).boxed()
    }
}

struct WorkersRandom;

impl Random for WorkersRandom {
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::getrandom(buffer) {
            // Going on without randomness would make guessable keys.
            panic!("this runtime gives no random bytes: {error}");
        }
    }
}

struct AfterFetch(Context);

impl Background for AfterFetch {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.0.wait_until(work);
    }
}

struct AfterTick(SendWrapper<ScheduleContext>);

impl Background for AfterTick {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.0.wait_until(work);
    }
}
