//! Webhooks of GitHub Apps and repositories.
//!
//! Invariant: what is not signed with the integration's secret is not read; and it is the raw body that is signed, before anything is
//! made of it.

mod listener;
mod payload;

use std::borrow::Cow;

use http::header::CONTENT_TYPE;

use self::{listener::Listener, payload::Payload};
use crate::{
    ingress::{
        channel::{Rejection, Request, Verdict, Verified},
        signature::is_signed,
        text::cut_name,
    },
    integration::GithubSettings,
};

const SIGNATURE: &str = "X-Hub-Signature-256";
const DELIVERY: &str = "X-GitHub-Delivery";
const EVENT: &str = "X-GitHub-Event";

/// What stands at the beginning of the marker at the end of every comment Roost writes.
pub const MARKER: &str = "<!-- roost:";

/// Proves `X-Hub-Signature-256` over the raw body.
///
/// # Errors
/// See [`Rejection`].
pub fn verify(webhook_secret: &str, request: Request<'_>) -> Result<Verified, Rejection> {
    if webhook_secret.is_empty() {
        return Err(Rejection::Secret("it is empty"));
    }
    let signature = request
        .headers
        .get(SIGNATURE)
        .ok_or_else(|| Rejection::SignatureMissing {
            header: SIGNATURE.to_owned(),
        })?;
    let digest = signature
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(|text| hex::decode(text).ok())
        .ok_or(Rejection::SignatureWrong)?;
    if !is_signed(webhook_secret.as_bytes(), &[request.body], &digest) {
        return Err(Rejection::SignatureWrong);
    }
    let delivery = request.text_header(DELIVERY).ok_or(Rejection::Header(DELIVERY))?;
    Ok(Verified {
        dedupe_key: delivery.to_owned(),
    })
}

/// Says what was heard.
///
/// # Errors
/// [`Rejection::Header`] without `X-GitHub-Event`, [`Rejection::Malformed`] when a body is not what GitHub documents.
pub fn normalise(settings: &GithubSettings, request: Request<'_>) -> Result<Verdict, Rejection> {
    let event = request.text_header(EVENT).ok_or(Rejection::Header(EVENT))?;
    if !is_listened_to(event) {
        return Ok(ignored(format!("event not listened to: {event}")));
    }
    let payload: Payload = serde_json::from_slice(&json_body(request)?)
        .map_err(|error| Rejection::Malformed(error.to_string()))?;
    let kind = match &payload.action {
        Some(action) => format!("{event}.{}", cut_name(action)),
        None => event.to_owned(),
    };
    let verdict = Listener {
        settings,
        payload: &payload,
        kind: &kind,
    }
    .listen();
    verdict.map_err(|missing| Rejection::Malformed(format!("{kind} without {missing}")))
}

/// Whether anything can be heard in an event of this name.
pub(crate) fn is_listened_to(event: &str) -> bool {
    matches!(
        event,
        "issues" | "issue_comment" | "pull_request" | "pull_request_review" | "pull_request_review_comment"
    )
}

/// The JSON of the body; GitHub wraps it in a form when the webhook's content type is left at its default.
fn json_body(request: Request<'_>) -> Result<Cow<'_, [u8]>, Rejection> {
    let is_form = request
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if !is_form {
        return Ok(Cow::Borrowed(request.body));
    }
    form_urlencoded::parse(request.body)
        .find(|(name, _)| name == "payload")
        .map(|(_, json)| Cow::Owned(json.into_owned().into_bytes()))
        .ok_or_else(|| Rejection::Malformed("a form without the field payload".to_owned()))
}

fn ignored(reason: impl Into<String>) -> Verdict {
    Verdict::Ignored(reason.into())
}

/// `owner/name`, as GitHub writes names: nothing in it can lead an address elsewhere.
pub(crate) fn is_full_name(text: &str) -> bool {
    let is_name = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    text.len() <= 256
        && text
            .split_once('/')
            .is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

#[cfg(test)]
mod tests;
