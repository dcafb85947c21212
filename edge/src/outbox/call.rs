//! What every sender needs of HTTP: one call with a JSON body, and reading what the answer says of its failure.
//!
//! Invariant: no reason that leaves this file contains a secret of the integration.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    outbox::channel::Outcome,
    ports::{HttpError, Ports},
};

/// The longest wait a channel can impose: longer ones are its mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A POST of `body` that is about to be made.
pub(super) fn post(url: &str, body: Vec<u8>) -> Result<Request<Bytes>, Outcome> {
    let request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    finish(request, body)
}

/// A GET that is about to be made.
pub(super) fn get(url: &str) -> Result<Request<Bytes>, Outcome> {
    finish(Request::get(url), Vec::new())
}

fn finish(request: http::request::Builder, body: Vec<u8>) -> Result<Request<Bytes>, Outcome> {
    let request = request
        .header(header::USER_AGENT, "roost")
        .body(Bytes::from(body));
    request.map_err(|_| Outcome::Failed {
        code: "address_invalid",
        reason: "the integration's address can't be called; correct it in the integration".to_owned(),
    })
}

/// A header's value that must not be logged; none if it can't be one.
pub(super) fn secret_value(text: &str) -> Option<HeaderValue> {
    // The type would take more than that, but not every host can send it, and no credential has it.
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Makes the call. Error texts of HTTP clients name the address, which may hold the secret `hidden`.
pub(super) async fn call(
    ports: &Ports,
    request: Request<Bytes>,
    hidden: &str,
) -> Result<Response<Bytes>, HttpError> {
    let clean = |text: String| match hidden {
        "" => text,
        hidden => text.replace(hidden, "…"),
    };
    ports.http.send(request).await.map_err(|error| match error {
        HttpError::NotSent(reason) => HttpError::NotSent(clean(reason)),
        HttpError::Unknown(reason) => HttpError::Unknown(clean(reason)),
    })
}

/// What doing a call twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// It would be seen.
    Shows,
    /// It would be as if done once.
    IsOnce,
}

impl Twice {
    /// What came of a call without an answer.
    pub(super) fn unanswered(self, error: HttpError) -> Outcome {
        match error {
            HttpError::NotSent(_) => Self::IsOnce.in_doubt(error.to_string()),
            HttpError::Unknown(_) => self.in_doubt(error.to_string()),
        }
    }

    /// What came of a call that may have been acted on.
    pub(super) fn in_doubt(self, reason: String) -> Outcome {
        match self {
            Self::Shows => Outcome::Unknown { reason },
            Self::IsOnce => Outcome::Retry { after: None, reason },
        }
    }
}

/// `Retry-After` in seconds, which is how the channels write it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    Some(bounded(number(headers, "retry-after")?))
}

/// A header that is a whole number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The field `name` in the query of the link that the header `Link` calls `rel`.
pub(super) fn link(headers: &HeaderMap, rel: &str, name: &str) -> Option<String> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    let rel = format!("rel=\"{rel}\"");
    links.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains(&rel).then_some(())?;
        let (_, query) = address.split_once('?')?;
        let mut fields = form_urlencoded::parse(query.as_bytes());
        Some(fields.find(|(field, _)| field == name)?.1.into_owned())
    })
}

/// So many seconds, within reason.
pub(super) fn bounded(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

/// What the answer says in words: its `message` or `description`, else its beginning.
pub(super) fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Words {
        message: Option<String>,
        description: Option<String>,
    }
    let said = serde_json::from_slice::<Words>(body)
        .ok()
        .and_then(|words| words.message.or(words.description));
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(800)]).into_owned());
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The number or text in the answer's field `name`.
pub(super) fn id_in(body: &[u8], name: &str) -> Option<String> {
    match serde_json::from_slice::<Value>(body).ok()?.get(name)? {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}
