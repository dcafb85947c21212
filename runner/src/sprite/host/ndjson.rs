//! Answers that tell what happens while it happens: lines of JSON.
//!
//! Invariant: every line is one whole JSON value, sent as soon as it is known; the answer ends when its sender is dropped.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use serde::Serialize;
use tokio::sync::mpsc;

/// An answer of the events that `from` gets.
pub(super) fn answer<T: Serialize + Send + 'static>(from: mpsc::Receiver<T>) -> Response {
    let lines = stream::unfold(from, |mut from| async {
        let event = from.recv().await?;
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<Bytes, Infallible>(line.into()), from))
    });
    let body = Body::from_stream(lines);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
