//! Killing a session: a signal, a wait, then force; each step reported as a line of NDJSON.
//!
//! Invariant: the last line is `complete`, and by then the session has ended with everything in its process session.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures::{Stream, stream};
use serde::Deserialize;
use tokio::{sync::mpsc, time};

use super::{Host, error::ApiError, request::duration};
use crate::sprite::{Signal, wire::KillEvent};

const WAIT: Duration = Duration::from_secs(10);
const MAX_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize)]
pub(super) struct KillQuery {
    signal: Option<String>,
    timeout: Option<String>,
}

/// `POST /exec/{session}/kill?signal=SIGTERM&timeout=10s`.
pub(super) async fn kill(
    State(host): State<Host>,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<KillQuery>,
) -> Result<Response, ApiError> {
    let session = host.store.get(&name)?.sessions.get(&id)?;
    let signal = match &query.signal {
        Some(text) => Signal::parse(text).ok_or_else(|| {
            ApiError::bad_request(format!("{text} is not a signal; use one like SIGTERM or SIGKILL"))
        })?,
        None => Signal::Term,
    };
    let wait = match &query.timeout {
        Some(text) => duration(text)?.unwrap_or(MAX_WAIT).min(MAX_WAIT),
        None => WAIT,
    };
    let (lines, reported) = mpsc::channel(8);
    // A task of its own: the kill goes through even if the one who asked for it leaves.
    tokio::spawn(async move {
        let pid = session.pid();
        let say = async |kind: &str, message: String, exit_code| {
            let sent = (kind == "signal").then(|| signal.as_str().to_owned());
            let event = KillEvent {
                kind: kind.into(),
                message: Some(message),
                signal: sent,
                pid,
                exit_code,
            };
            // Nobody may be listening any more.
            let _ = lines.send(event).await;
        };
        if session.signal(signal).await {
            say("signal", format!("sent {signal}"), None).await;
        }
        let exit = match time::timeout(wait, session.output.finished()).await {
            Ok(exit) => {
                say("exited", format!("exited with {exit}"), Some(exit)).await;
                exit
            }
            Err(_) => {
                say(
                    "timeout",
                    format!("still running after {} s; killing it", wait.as_secs()),
                    None,
                )
                .await;
                session.kill_tree().await;
                let exit = session.output.finished().await;
                say(
                    "killed",
                    "killed with everything it had started".into(),
                    Some(exit),
                )
                .await;
                exit
            }
        };
        say("complete", "the session has ended".into(), Some(exit)).await;
    });
    let body = Body::from_stream(ndjson(reported));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn ndjson(events: mpsc::Receiver<KillEvent>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(events, |mut events| async {
        let event = events.recv().await?;
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Some((Ok(line.into()), events))
    })
}
