//! Replies on GitHub: comments with an invisible marker, and 👀 as the sign of receipt.
//!
//! Invariant: a comment whose fate is not known is never simply made again; a reaction may be, for the second is the
//! first.

pub(crate) mod hooks;
mod look;
mod token;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use roost_shared::{
    EffectId, UnixMillis,
    effect::Effect,
    work::{GithubSubject, ReplyTo},
};
use serde_json::json;

use crate::{
    ingress::github::{MARKER, is_full_name},
    integration::GithubSettings,
    outbox::{
        call::{self, Twice, secret_value},
        channel::{Outcome, Sending},
    },
};

pub(super) use self::look::look;
pub(crate) use self::token::{Asking, Purpose, Tokens, credential};

/// The most UTF-16 units of markdown in one comment: GitHub's 65,536 characters, less the marker.
pub(super) const COMMENT_LIMIT: usize = 65_536 - 64;

/// What GitHub asks those to wait whom it limits without saying how long.
const LIMITED: Duration = Duration::from_secs(60);

/// The invisible text at the end of a comment by which it can be found.
pub fn marker(effect: EffectId) -> String {
    format!("{MARKER}{effect} -->")
}

/// What is to be made, and where.
struct Call<'a> {
    path: String,
    body: String,
    repository: &'a str,
    installation: Option<u64>,
    twice: Twice,
}

/// Sends one effect.
pub(super) async fn send(
    sending: &Sending<'_>,
    settings: &GithubSettings,
    secrets: (Option<&str>, Option<&str>),
    effect: &Effect,
) -> Outcome {
    match attempt(sending, settings, secrets, effect).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

async fn attempt(
    sending: &Sending<'_>,
    settings: &GithubSettings,
    secrets: (Option<&str>, Option<&str>),
    effect: &Effect,
) -> Result<Outcome, Outcome> {
    let planned = plan(sending.effect, effect)?;
    let api = settings.api_url.trim_end_matches('/');
    let request = call::post(&format!("{api}{}", planned.path), planned.body.into_bytes())?;
    let asking = Asking::of(sending, settings, secrets);
    let about = (planned.repository, planned.installation);
    let answer = authorised(&asking, about, request, planned.twice).await?;
    Ok(judge(&answer, sending.ports.clock.now(), planned.twice))
}

/// Makes a call about a repository (of an installation) with a credential for it, where the repository is now. An answer
/// that no longer takes the credential is [`Outcome::Retry`], with another one.
async fn authorised(
    asking: &Asking<'_>,
    (repository, installation): (&str, Option<u64>),
    mut request: Request<Bytes>,
    twice: Twice,
) -> Result<Response<Bytes>, Outcome> {
    let credential = token::credential(asking, Purpose::Talk, repository, installation).await?;
    set_headers(&mut request);
    let bearer = secret_value(&format!("Bearer {}", credential.token)).ok_or_else(|| Outcome::Failed {
        code: "credential_missing",
        reason: "the integration's token is no token: enter it again".to_owned(),
    })?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let mut answer = call::call(asking.ports, request.clone(), "")
        .await
        .map_err(|error| twice.unanswered(error))?;
    if let Some(moved) = moved_to(&answer, request.uri()) {
        *request.uri_mut() = moved;
        answer = call::call(asking.ports, request, "")
            .await
            .map_err(|error| twice.unanswered(error))?;
    }
    if let (StatusCode::UNAUTHORIZED, Some(key)) = (answer.status(), &credential.kept_as) {
        asking.tokens.forget(key);
        return Err(Outcome::Retry {
            after: None,
            reason: "GitHub no longer takes the installation's token; the next attempt asks for a new one"
                .to_owned(),
        });
    }
    Ok(answer)
}

fn plan(id: EffectId, effect: &Effect) -> Result<Call<'_>, Outcome> {
    let (Effect::Acknowledge { to } | Effect::Reply { to, .. }) = effect;
    let ReplyTo::Github {
        repository,
        number,
        subject,
        thread,
        installation,
    } = to
    else {
        return Err(super::channel::elsewhere("github"));
    };
    if !is_full_name(repository) {
        return Err(super::channel::elsewhere("github"));
    }
    let repo = format!("/repos/{repository}");
    let (path, body, twice) = match (effect, subject, thread) {
        (Effect::Acknowledge { .. }, subject, _) => {
            let path = match subject {
                GithubSubject::Issue => format!("{repo}/issues/{number}/reactions"),
                GithubSubject::IssueComment(id) => format!("{repo}/issues/comments/{id}/reactions"),
                GithubSubject::ReviewComment(id) => format!("{repo}/pulls/comments/{id}/reactions"),
            };
            (path, json!({"content": "eyes"}), Twice::IsOnce)
        }
        (Effect::Reply { text, .. }, _, thread) => {
            let path = match thread {
                Some(first) => format!("{repo}/pulls/{number}/comments/{first}/replies"),
                None => format!("{repo}/issues/{number}/comments"),
            };
            let body = format!("{}\n\n{}", text.trim_end(), marker(id));
            (path, json!({"body": body}), Twice::Shows)
        }
    };
    Ok(Call {
        path,
        body: body.to_string(),
        repository,
        installation: *installation,
        twice,
    })
}

fn set_headers(request: &mut Request<Bytes>) {
    let headers = request.headers_mut();
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/vnd.github+json"),
    );
    headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
}

/// Where a renamed or transferred repository's calls go now, on the same server: the token must not leave it.
fn moved_to(answer: &Response<Bytes>, from: &Uri) -> Option<Uri> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    let to: Uri = answer
        .headers()
        .get(header::LOCATION)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    (to.scheme() == from.scheme() && to.authority() == from.authority()).then_some(to)
}

/// How long to wait, if the answer is a refusal for having asked too often: the primary limit names the moment it ends,
/// the secondary ones a number of seconds, or nothing.
fn rate_limit(answer: &Response<Bytes>, now: UnixMillis) -> Option<Duration> {
    let status = answer.status();
    if status != StatusCode::FORBIDDEN && status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let headers = answer.headers();
    let reset = || {
        let used_up = call::number(headers, "x-ratelimit-remaining")? == 0;
        let reset = i64::try_from(call::number(headers, "x-ratelimit-reset")?).ok()?;
        let wait = u64::try_from(reset.saturating_sub(now.as_secs())).unwrap_or(0);
        // A second more, for the clocks.
        used_up.then(|| call::bounded(wait.saturating_add(1)))
    };
    let is_limited = || {
        status == StatusCode::TOO_MANY_REQUESTS
            || call::words(answer.body())
                .to_ascii_lowercase()
                .contains("rate limit")
    };
    call::retry_after(headers)
        .or_else(reset)
        .or_else(|| is_limited().then_some(LIMITED))
}

fn judge(answer: &Response<Bytes>, now: UnixMillis, twice: Twice) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        return Outcome::Sent {
            external_id: call::id_in(answer.body(), "id"),
        };
    }
    if let Some(after) = rate_limit(answer, now) {
        return Outcome::Retry {
            after: Some(after),
            reason: format!("GitHub asks to wait {} s: too many requests", after.as_secs()),
        };
    }
    if status.is_server_error() {
        return twice.in_doubt(format!("GitHub is in trouble ({status})"));
    }
    explain(status, &call::words(answer.body()))
}

/// A refusal for good, in words that say what to do.
fn explain(status: StatusCode, words: &str) -> Outcome {
    let (code, advice) = match status.as_u16() {
        401 => (
            "channel_unauthorized",
            "the token is wrong or has expired: enter a new one",
        ),
        403 => (
            "channel_forbidden",
            "give the App or token write access to issues and pull requests, and check that the conversation is not locked",
        ),
        404 | 410 | 301 | 302 | 307 | 308 => (
            "channel_target_gone",
            "the issue or comment is gone, or the App or token may not see it",
        ),
        _ => ("channel_refused", "this is not accepted as it is"),
    };
    Outcome::Failed {
        code,
        reason: format!("GitHub refused ({}, {words:?}): {advice}", status.as_u16()),
    }
}
