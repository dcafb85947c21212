//! The stand-in's routes.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequest, FromRequestParts, Path, Request},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{GithubFault, Made, MadeKind, Novelty, Shared, git, hooks, lists, token};
use crate::standin::recording::cut;

/// Characters a comment may have.
const COMMENT: usize = 65_536;
/// The reactions there are.
const REACTIONS: [&str; 8] = [
    "+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes",
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(
            "/app/installations/{installation}/access_tokens",
            post(token::issue),
        )
        .route(
            "/repos/{owner}/{name}/issues/{number}/comments",
            get(lists::of_issue).post(comment),
        )
        .route(
            "/repos/{owner}/{name}/pulls/{number}/comments",
            get(lists::of_pull),
        )
        .route("/repos/{owner}/{name}/issues/{number}/reactions", post(react))
        .route(
            "/repos/{owner}/{name}/issues/comments/{number}/reactions",
            post(react),
        )
        .route(
            "/repos/{owner}/{name}/pulls/comments/{number}/reactions",
            post(react),
        )
        .route(
            "/repos/{owner}/{name}/pulls/{number}/comments/{first}/replies",
            post(reply),
        )
        .route("/app/hook/deliveries", get(hooks::list))
        .route("/app/hook/deliveries/{delivery}", get(hooks::show))
        .route("/app/hook/deliveries/{delivery}/attempts", post(hooks::again))
        .route("/orgs/{organisation}/hooks", get(hooks::hooks))
        .route("/orgs/{organisation}/hooks/{hook}/deliveries", get(hooks::list))
        .route(
            "/orgs/{organisation}/hooks/{hook}/deliveries/{delivery}",
            get(hooks::show),
        )
        .route("/repos/{owner}/{name}/hooks", get(hooks::hooks))
        .route("/repos/{owner}/{name}/hooks/{hook}/deliveries", get(hooks::list))
        .route(
            "/repos/{owner}/{name}/hooks/{hook}/deliveries/{delivery}",
            get(hooks::show),
        )
        .route(
            "/repos/{owner}/{name}/hooks/{hook}/deliveries/{delivery}/attempts",
            post(hooks::again),
        )
        .route("/{owner}/{name}/{*path}", get(git::read))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "Not Found") })
        .with_state(shared)
}

/// GitHub's way to say no.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response {
    let documentation = "https://docs.github.com/rest";
    let body = json!({"message": message, "documentation_url": documentation, "status": status.as_str()});
    (status, Json(body)).into_response()
}

/// A call that GitHub would refuse, with its words.
struct Refused(StatusCode, &'static str);

#[derive(Deserialize)]
struct CommentBody {
    body: String,
}

#[derive(Deserialize)]
struct ReactionBody {
    content: String,
}

/// One call that writes: who, where, what.
struct Call {
    shared: Arc<Shared>,
    path: String,
    headers: HeaderMap,
    repository: String,
    body: Bytes,
}

/// Where a call writes to.
#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) number: u64,
}

impl FromRequest<Arc<Shared>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Response> {
        let (mut head, body) = request.into_parts();
        let Path(Place { owner, name, .. }) = Path::from_request_parts(&mut head, shared)
            .await
            .map_err(IntoResponse::into_response)?;
        let (path, headers) = (head.uri.path().to_owned(), head.headers.clone());
        let body = Bytes::from_request(Request::from_parts(head, body), shared)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self {
            shared: shared.clone(),
            path,
            headers,
            repository: format!("{owner}/{name}"),
            body,
        })
    }
}

impl Call {
    /// The body, if the caller may write here and it is what GitHub takes.
    fn accept<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Refused> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
        self.shared.requests.push((self.path.clone(), body.clone()));
        if !token::may_write(&self.shared, &self.headers, &self.repository) {
            return Err(Refused(StatusCode::UNAUTHORIZED, "Bad credentials"));
        }
        if !self.headers.contains_key("user-agent") {
            let words = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
            return Err(Refused(StatusCode::FORBIDDEN, words));
        }
        serde_json::from_value(body)
            .map_err(|_| Refused(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed"))
    }

    /// Makes it, or fails as the next fault says.
    async fn make(&self, kind: MadeKind, target: u64, content: &str) -> Response {
        let fault = self.shared.state().faults.pop_front();
        let failed = refusal(StatusCode::INTERNAL_SERVER_ERROR, "Server Error");
        match fault {
            Some(GithubFault::SecondaryLimit { retry_after }) => {
                let words = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
                let mut limited = refusal(StatusCode::FORBIDDEN, words);
                limited
                    .headers_mut()
                    .insert("retry-after", HeaderValue::from(retry_after.as_secs()));
                return limited;
            }
            Some(GithubFault::ErrorBefore) => return failed,
            Some(GithubFault::ErrorAfter) => {
                self.shared.make(kind, &self.repository, target, content);
                return failed;
            }
            Some(GithubFault::CutAfter) => {
                self.shared.make(kind, &self.repository, target, content);
                return cut();
            }
            Some(GithubFault::SilentAfter) => {
                self.shared.make(kind, &self.repository, target, content);
                return std::future::pending().await;
            }
            Some(GithubFault::Slow(span)) => tokio::time::sleep(span).await,
            None => {}
        }
        let (made, novelty) = self.shared.make(kind, &self.repository, target, content);
        let status = if novelty == Novelty::New {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let mut response = (status, Json(shown(&made))).into_response();
        response
            .headers_mut()
            .insert("x-ratelimit-remaining", HeaderValue::from_static("4999"));
        response
    }
}

/// As GitHub shows it.
pub(super) fn shown(made: &Made) -> Value {
    match made.kind {
        MadeKind::Reaction => json!({"id": made.id, "content": made.content}),
        MadeKind::Comment | MadeKind::ReviewReply => {
            let at = moment(made.at);
            json!({
                "id": made.id, "body": made.content, "user": {"login": "roost[bot]", "type": "Bot"},
                "created_at": at, "updated_at": at,
            })
        }
    }
}

/// As GitHub writes moments: `2026-11-21T09:30:00Z`.
pub(super) fn moment(millis: i64) -> String {
    jiff::Timestamp::from_second(millis.div_euclid(1000)).map_or_else(|_| String::new(), |at| at.to_string())
}

async fn comment(Path(Place { number, .. }): Path<Place>, call: Call) -> Response {
    match call.accept::<CommentBody>() {
        Ok(CommentBody { body }) if body.trim().is_empty() || body.chars().count() > COMMENT => {
            refusal(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed")
        }
        Ok(CommentBody { body }) => call.make(MadeKind::Comment, number, &body).await,
        Err(Refused(status, words)) => refusal(status, words),
    }
}

async fn reply(Path(Place { number, .. }): Path<Place>, call: Call) -> Response {
    match call.accept::<CommentBody>() {
        Ok(CommentBody { body }) => call.make(MadeKind::ReviewReply, number, &body).await,
        Err(Refused(status, words)) => refusal(status, words),
    }
}

async fn react(Path(Place { number, .. }): Path<Place>, call: Call) -> Response {
    match call.accept::<ReactionBody>() {
        Ok(ReactionBody { content }) if REACTIONS.contains(&content.as_str()) => {
            call.make(MadeKind::Reaction, number, &content).await
        }
        Ok(_) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed"),
        Err(Refused(status, words)) => refusal(status, words),
    }
}
