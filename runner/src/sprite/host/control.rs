//! The control connection: one WebSocket, one operation after the other.
//!
//! Invariant: between `op.start` and its `op.complete` or `op.error` the connection carries that operation's session and
//! nothing else, as an exec connection would; a second start meanwhile ends the connection. What else comes between
//! operations belongs to one that is over, and is dropped.

use axum::{
    body::Bytes,
    extract::{
        Path, State,
        ws::{Message, close_code},
    },
    response::Response,
};
use futures::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{sync::watch, time};

use super::{
    Host,
    connection::{Carried, DEAD_AFTER, Dialect, Joined, PING_EVERY, Socket, carry, say_exit, sized},
    error::ApiError,
    exec::{self, Upgrade},
    request::Request,
};

/// What control messages start with; all other text belongs to the operation.
const PREFIX: &str = "control:";

/// A control message of the client.
#[derive(Debug, Deserialize)]
struct Start {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    op: String,
    #[serde(default)]
    args: Map<String, Value>,
}

/// A control message of the host.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "args")]
enum Outcome {
    #[serde(rename = "op.complete", rename_all = "camelCase")]
    Complete { exit_code: i32 },
    /// `error` is a sentence; `code` and the rest are what the same request would have been refused with over HTTP.
    #[serde(rename = "op.error")]
    Error {
        error: String,
        code: String,
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_seconds: Option<u64>,
    },
}

/// `GET /control` as WebSocket.
pub(super) async fn control(
    State(host): State<Host>,
    Path(name): Path<String>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    host.store.get(&name)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let (mut closing, place) = (host.closing.subscribe(), host.connection()?);
    Ok(sized(upgrade).on_upgrade(async move |socket| {
        let (to, from) = socket.split();
        let mut socket = Socket { to, from };
        match converse(&host, &name, &mut socket, &mut closing).await {
            Some((code, reason)) => socket.close(code, reason).await,
            None => socket.leave().await,
        }
        drop(place);
    }))
}

/// Operations until the client leaves or the host closes; what to close with, if the client has not.
async fn converse(
    host: &Host,
    name: &str,
    socket: &mut Socket,
    closing: &mut watch::Receiver<bool>,
) -> Option<(u16, &'static str)> {
    loop {
        let start = tokio::select! {
            start = next_start(socket) => start?,
            // An error means the host is gone.
            _ = closing.wait_for(|closing| *closing) => return Some((close_code::AWAY, "the host shuts down")),
        };
        let outcome = match begin(host, name, start).await {
            Ok(joined) => {
                let tty = joined.session.tty;
                match carry(socket, joined, Dialect::Control, closing).await {
                    Carried::Exit(exit_code) => {
                        if !say_exit(socket, tty, exit_code).await {
                            return None;
                        }
                        Outcome::Complete { exit_code }
                    }
                    Carried::Left => return None,
                    Carried::Confused => return Some((close_code::POLICY, "one operation at a time")),
                }
            }
            Err(error) => Outcome::from(error),
        };
        if !socket.say(PREFIX, &outcome).await {
            return None;
        }
    }
}

impl From<ApiError> for Outcome {
    fn from(error: ApiError) -> Self {
        let (status, body) = error.into_parts();
        Self::Error {
            error: body.message,
            code: body.error,
            status: status.as_u16(),
            retry_after_seconds: body.retry_after_seconds,
        }
    }
}

/// The next operation; `None` when the client is gone.
async fn next_start(socket: &mut Socket) -> Option<Start> {
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = time::Instant::now();
    loop {
        let message = tokio::select! {
            message = socket.from.next() => message?.ok()?,
            _ = pings.tick() => {
                if heard.elapsed() > DEAD_AFTER {
                    return None;
                }
                socket.to.send(Message::Ping(Bytes::new())).await.ok()?;
                continue;
            }
        };
        heard = time::Instant::now();
        match message {
            Message::Close(_) => return None,
            Message::Text(text) => {
                let start = text.strip_prefix(PREFIX).map(serde_json::from_str::<Start>);
                if let Some(Ok(start)) = start
                    && start.kind == "op.start"
                {
                    return Some(start);
                }
            }
            _ => {}
        }
    }
}

/// Starts the operation, or joins it if it is a session that exists.
async fn begin(host: &Host, name: &str, start: Start) -> Result<Joined, ApiError> {
    if !matches!(start.op.as_str(), "exec" | "attach") {
        return Err(ApiError::new(
            axum::http::StatusCode::BAD_REQUEST,
            "no_such_operation",
            format!(
                "{} is no operation of this host; it has exec and attach",
                start.op
            ),
        ));
    }
    // By name each time: the sprite may have been made anew since the connection was opened.
    let sprite = host.store.get(name)?;
    let request = Request::parse(pairs(start.args))?;
    match request.attach.clone() {
        Some(id) => exec::join(&sprite, &id),
        None if start.op == "attach" => Err(ApiError::bad_request("attach needs the session's id")),
        None => exec::launch(host, sprite, request).await,
    }
}

/// The arguments as the query of an exec would have them: lists are repeated keys, everything is text.
fn pairs(args: Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let mut pairs = Vec::new();
    for (key, value) in args {
        match value {
            Value::Null => {}
            Value::Array(values) => {
                pairs.extend(values.into_iter().map(|value| (key.clone(), text(value))));
            }
            value => pairs.push((key, text(value))),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_read_as_a_query_and_outcomes_have_the_clients_shape() {
        let args = json!({ "cmd": ["a", "b"], "tty": "true", "rows": 24, "dir": null });
        let Value::Object(args) = args else {
            panic!("an object")
        };
        let mut read = pairs(args);
        read.sort();
        let expected = [("cmd", "a"), ("cmd", "b"), ("rows", "24"), ("tty", "true")];
        assert_eq!(
            read,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(
            serde_json::to_value(Outcome::Complete { exit_code: 3 }).unwrap(),
            json!({ "type": "op.complete", "args": { "exitCode": 3 } })
        );
        let refused = serde_json::to_value(Outcome::from(ApiError::no_sprite("x"))).unwrap();
        assert_eq!(refused["args"]["status"], 404);
    }
}
