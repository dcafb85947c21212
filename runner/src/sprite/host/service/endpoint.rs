//! The service endpoints.
//!
//! Invariant: what can be refused is refused before the first line of a stream; the last line is `complete`. What was begun is
//! done whole, also when the one who asked for it leaves.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, oneshot,
    },
    time,
};

use super::{
    Service,
    change::{again, delete, end, go, put},
    log::Log,
    not_running,
    run::event,
};
use crate::sprite::{
    Signal,
    host::{Host, HostConfig, error::ApiError, local::LocalSprite, ndjson, request::duration},
    wire_services::{Definition, LogEvent, ServiceInfo, SignalService},
};

/// How long what a service says is told after it was started, unless the request says so.
const WATCH: Duration = Duration::from_secs(5);
const MAX_WATCH: Duration = Duration::from_secs(3_600);
/// How long a service may take to stop, unless the request says so.
const STOP_WITHIN: Duration = Duration::from_secs(10);
const MAX_STOP_WITHIN: Duration = Duration::from_secs(300);
const LINES: usize = 100;
const MAX_LINES: usize = 10_000;
/// Events on their way to one client.
const ON_THE_WAY: usize = 64;

#[derive(Debug, Deserialize)]
pub(in crate::sprite::host) struct Times {
    duration: Option<String>,
    timeout: Option<String>,
    lines: Option<usize>,
    follow: Option<String>,
}

impl Times {
    fn watch(&self, usual: Duration) -> Result<Duration, ApiError> {
        Ok(match &self.duration {
            Some(text) => duration(text)?.unwrap_or_default().min(MAX_WATCH),
            None => usual,
        })
    }
}

type Name = Path<(String, String)>;

/// `GET /v1/sprites/{name}/services`.
pub(in crate::sprite::host) async fn list(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Vec<ServiceInfo>>, ApiError> {
    Ok(Json(host.store.get(&name)?.services.list()))
}

/// `GET /v1/sprites/{name}/services/{service}`.
pub(in crate::sprite::host) async fn show(
    State(host): State<Host>,
    Path((name, service)): Name,
) -> Result<Json<ServiceInfo>, ApiError> {
    Ok(Json(host.store.get(&name)?.services.show(&service)?))
}

/// `PUT /v1/sprites/{name}/services/{service}?duration=5s`: defines it and starts it.
pub(in crate::sprite::host) async fn define(
    State(host): State<Host>,
    Path((name, service)): Name,
    Query(times): Query<Times>,
    body: Result<Json<Definition>, JsonRejection>,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let Json(mut new) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    new.name = service;
    let config = host.store.shared_config();
    sprite.services.check(&new, config.limits.services)?;
    let watch = times.watch(WATCH)?;
    let (hear, heard) = oneshot::channel();
    let work = async move {
        put(&sprite, &config, new, |log| {
            // Nobody may be listening any more.
            let _ = hear.send((log.listen(), log.files()));
        })
        .await
    };
    Ok(tell(work, async move { heard.await.ok() }, watch))
}

/// `POST /v1/sprites/{name}/services/{service}/start?duration=5s`.
pub(in crate::sprite::host) async fn start(
    State(host): State<Host>,
    Path(name): Name,
    Query(times): Query<Times>,
) -> Result<Response, ApiError> {
    watched(&host, name, &times, go)
}

/// `POST /v1/sprites/{name}/services/{service}/restart?duration=5s`.
pub(in crate::sprite::host) async fn restart(
    State(host): State<Host>,
    Path(name): Name,
    Query(times): Query<Times>,
) -> Result<Response, ApiError> {
    watched(&host, name, &times, again)
}

/// Does something to a service that is defined, and tells what it says meanwhile.
fn watched<W: Future<Output = Result<(), ApiError>> + Send + 'static>(
    host: &Host,
    (name, service): (String, String),
    times: &Times,
    work: impl FnOnce(Arc<LocalSprite>, Arc<HostConfig>, String) -> W,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let watch = times.watch(WATCH)?;
    let heard = hear(&sprite.services.service(&service)?.log);
    Ok(tell(
        work(sprite, host.store.shared_config(), service),
        heard,
        watch,
    ))
}

/// `POST /v1/sprites/{name}/services/{service}/stop?timeout=10s`.
pub(in crate::sprite::host) async fn stop(
    State(host): State<Host>,
    Path((name, service)): Name,
    Query(times): Query<Times>,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let within = match &times.timeout {
        Some(text) => duration(text)?.unwrap_or_default().min(MAX_STOP_WITHIN),
        None => STOP_WITHIN,
    };
    let known = sprite.services.service(&service)?;
    if !sprite.services.runs(&service) {
        return Err(not_running(&service));
    }
    let heard = hear(&known.log);
    let work = async move { end(&sprite, &service, within).await };
    Ok(tell(work, heard, Duration::ZERO))
}

/// `DELETE /v1/sprites/{name}/services/{service}`: stops it first. Its log stays.
pub(in crate::sprite::host) async fn remove(
    State(host): State<Host>,
    Path((name, service)): Name,
) -> Result<StatusCode, ApiError> {
    let sprite = host.store.get(&name)?;
    let deleting = tokio::spawn(async move { delete(&sprite, &service).await });
    deleting
        .await
        .map_err(|error| ApiError::internal("the service was not deleted", &error.into()))??;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/sprites/{name}/services/signal`.
pub(in crate::sprite::host) async fn signal(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Result<Json<SignalService>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let sprite = host.store.get(&name)?;
    let Json(asked) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let service: Arc<Service> = sprite.services.service(&asked.name)?;
    let signal = Signal::parse(&asked.signal).ok_or_else(|| {
        ApiError::bad_request(format!(
            "{} is not a signal; use one like SIGTERM or HUP",
            asked.signal
        ))
    })?;
    if service.signal(signal).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_running(&asked.name))
    }
}

/// `GET /v1/sprites/{name}/services/{service}/logs?lines=100&duration=5s&follow=true`: what is kept, and what is said for that
/// long; with `follow` until the client leaves.
pub(in crate::sprite::host) async fn logs(
    State(host): State<Host>,
    Path((name, service)): Name,
    Query(times): Query<Times>,
) -> Result<Response, ApiError> {
    let sprite: Arc<LocalSprite> = host.store.get(&name)?;
    let log = Arc::clone(&sprite.services.service(&service)?.log);
    let count = times.lines.unwrap_or(LINES).min(MAX_LINES);
    let watch = times.watch(Duration::ZERO)?;
    let is_endless = matches!(times.follow.as_deref(), Some("true" | "1"));
    let tail = log.tail(count).await;
    let (lines, live) = tail.map_err(|error| ApiError::internal("the log could not be read", &error))?;
    let (say, said) = mpsc::channel(ON_THE_WAY);
    let mut closing = host.closing.subscribe();
    tokio::spawn(async move {
        for line in lines {
            if say.send(line).await.is_err() {
                return;
            }
        }
        let until = async {
            if is_endless {
                // An error means the host is gone.
                let _ = closing.wait_for(|closing| *closing).await;
            } else {
                time::sleep(watch).await;
            }
        };
        follow(&say, live, until).await;
        complete(&say, &log).await;
    });
    Ok(ndjson::answer(said))
}

type Heard = (
    broadcast::Receiver<LogEvent>,
    std::collections::BTreeMap<String, String>,
);

fn hear(log: &Log) -> impl Future<Output = Option<Heard>> + Send + use<> {
    std::future::ready(Some((log.listen(), log.files())))
}

/// Does the work, tells what is said meanwhile and for `watch` after it, and that it is complete.
fn tell(
    work: impl Future<Output = Result<(), ApiError>> + Send + 'static,
    heard: impl Future<Output = Option<Heard>> + Send + 'static,
    watch: Duration,
) -> Response {
    let (say, said) = mpsc::channel(ON_THE_WAY);
    // In a task of its own: it is done whole even if the client leaves.
    let work = tokio::spawn(work);
    tokio::spawn(async move {
        let mut failure = None;
        let heard = heard.await;
        let until = async {
            match work.await {
                Ok(Ok(())) => time::sleep(watch).await,
                Ok(Err(error)) => failure = Some(error.message().to_owned()),
                Err(error) => failure = Some(error.to_string()),
            }
        };
        let files = match heard {
            Some((live, files)) => {
                follow(&say, live, until).await;
                Some(files)
            }
            None => {
                until.await;
                None
            }
        };
        if let Some(failure) = failure {
            let error = LogEvent {
                data: Some(failure),
                ..event("error")
            };
            // As below.
            let _ = say.send(error).await;
        }
        let complete = LogEvent {
            log_files: files,
            ..event("complete")
        };
        // Nobody may be listening any more.
        let _ = say.send(complete).await;
    });
    ndjson::answer(said)
}

/// Tells what is said until then, or until the client leaves.
async fn follow(
    say: &mpsc::Sender<LogEvent>,
    mut live: broadcast::Receiver<LogEvent>,
    until: impl Future<Output = ()>,
) {
    let mut until = std::pin::pin!(until);
    loop {
        let heard = tokio::select! {
            biased;
            heard = live.recv() => heard,
            () = &mut until => break,
            () = say.closed() => return,
        };
        let event = match heard {
            Ok(event) => event,
            Err(RecvError::Lagged(count)) => LogEvent {
                data: Some(format!(
                    "{count} lines came faster than they were read; they are in the log"
                )),
                ..event("error")
            },
            Err(RecvError::Closed) => return until.await,
        };
        if say.send(event).await.is_err() {
            return;
        }
    }
    // What was said before that moment.
    while let Ok(event) = live.try_recv() {
        if say.send(event).await.is_err() {
            return;
        }
    }
}

async fn complete(say: &mpsc::Sender<LogEvent>, log: &Log) {
    let complete = LogEvent {
        log_files: Some(log.files()),
        ..event("complete")
    };
    // Nobody may be listening any more.
    let _ = say.send(complete).await;
}
