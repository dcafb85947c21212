//! Server-sent events, as the [HTML standard](https://html.spec.whatwg.org/multipage/server-sent-events.html) writes
//! them.
//!
//! Invariant: text from outside can't end its line: whatever a browser takes for a line's end begins a `data:` line.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

/// How often something is sent, so that a cut connection is noticed on both sides.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// One message.
pub(crate) struct Message<'a> {
    /// The id a client that comes back gives as `Last-Event-ID`.
    pub(crate) id: Option<u64>,
    /// Its type; `message` without.
    pub(crate) event: Option<&'a str>,
    /// What it says; any text.
    pub(crate) data: &'a str,
}

impl Message<'_> {
    /// Writes it.
    pub(crate) fn write(&self, to: &mut String) {
        if let Some(event) = self.event {
            to.push_str("event: ");
            to.push_str(event);
            to.push('\n');
        }
        if let Some(id) = self.id {
            to.push_str("id: ");
            to.push_str(&id.to_string());
            to.push('\n');
        }
        let mut rest = self.data;
        loop {
            let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
            to.push_str("data: ");
            to.push_str(&rest[..end]);
            to.push('\n');
            let Some(next) = rest.get(end..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            rest = next.strip_prefix("\r\n").unwrap_or(&next[1..]);
        }
        to.push('\n');
    }
}

/// A comment, which clients skip.
pub(crate) fn heartbeat() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}

/// The `id` of the last message a client has seen.
pub(crate) fn last_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// The answer that streams.
pub(crate) fn response(stream: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // nginx would hold the stream back until a buffer is full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let body = Body::from_stream(futures::StreamExt::map(stream, Ok::<_, Infallible>));
    (headers, body).into_response()
}

/// The answer to a client that comes back though there is nothing more: 204 tells it to stop.
pub(crate) fn over() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn no_text_escapes_its_data_lines() {
        for (data, lines) in [
            ("plain", "data: plain\n"),
            ("", "data: \n"),
            ("a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n"),
            (
                "\r\r\nid: 9\n\nevent: x",
                "data: \ndata: \ndata: id: 9\ndata: \ndata: event: x\n",
            ),
            ("end\n", "data: end\ndata: \n"),
        ] {
            let mut text = String::new();
            let message = Message {
                id: Some(7),
                event: None,
                data,
            };
            message.write(&mut text);
            assert_eq!(text, format!("id: 7\n{lines}\n"));
        }
    }
}
