//! Lists of comments: in pages, with the header `Link`, since a moment; in GitHub's orders.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::LINK};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Made, MadeKind, Shared,
    routes::{Place, refusal, shown},
    token,
};

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default = "first_page")]
    page: usize,
    #[serde(default = "usual_page")]
    per_page: usize,
    since: Option<String>,
    direction: Option<String>,
}

fn first_page() -> usize {
    1
}

fn usual_page() -> usize {
    30
}

/// `GET /repos/{owner}/{repo}/issues/{number}/comments`: always oldest first.
pub(super) async fn of_issue(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    Query(page): Query<Page>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Page {
        direction: None,
        ..page
    };
    list(&shared, MadeKind::Comment, &place, &page, &uri, &headers)
}

/// `GET /repos/{owner}/{repo}/pulls/{number}/comments`.
pub(super) async fn of_pull(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    Query(page): Query<Page>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    list(&shared, MadeKind::ReviewReply, &place, &page, &uri, &headers)
}

fn list(
    shared: &Shared,
    kind: MadeKind,
    place: &Place,
    page: &Page,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let repository = format!("{}/{}", place.owner, place.name);
    shared.requests.push((uri.path().to_owned(), Value::Null));
    if !token::may_write(shared, headers, &repository) {
        return refusal(StatusCode::UNAUTHORIZED, "Bad credentials");
    }
    if shared.state().unreadable {
        return refusal(StatusCode::FORBIDDEN, "Resource not accessible by integration");
    }
    let Ok(since) = page
        .since
        .as_deref()
        .map(str::parse::<jiff::Timestamp>)
        .transpose()
    else {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed");
    };
    let since = since.map_or(i64::MIN, jiff::Timestamp::as_millisecond);
    let there =
        |made: &Made| made.kind == kind && made.repository == repository && made.target == place.number;
    let mut made: Vec<Made> = shared.made.all().into_iter().filter(there).collect();
    {
        let mut state = shared.state();
        if state.behind > 0 {
            state.behind -= 1;
            made.pop();
        }
    }
    made.retain(|made| made.at >= since);
    if page.direction.as_deref() == Some("desc") {
        made.reverse();
    }
    let per_page = page.per_page.clamp(1, 100);
    let last = made.len().div_ceil(per_page).max(1);
    let skipped = page.page.saturating_sub(1).saturating_mul(per_page);
    let rows: Vec<Value> = made.iter().skip(skipped).take(per_page).map(shown).collect();
    let mut response = Json(rows).into_response();
    if let Some(links) = links(uri, page.page, last) {
        response.headers_mut().insert(LINK, links);
    }
    response
}

/// The header `Link`, where there is another page.
fn links(uri: &Uri, page: usize, last: usize) -> Option<HeaderValue> {
    let query: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
    let others = query.iter().filter(|field| !field.starts_with("page="));
    let others = others.copied().collect::<Vec<_>>().join("&");
    let link = |page: usize, rel: &str| {
        format!(
            "<https://api.github.com{}?{others}&page={page}>; rel=\"{rel}\"",
            uri.path()
        )
    };
    let mut links = Vec::new();
    if page < last {
        links.extend([link(page + 1, "next"), link(last, "last")]);
    }
    if page > 1 {
        links.extend([link(1, "first"), link(page - 1, "prev")]);
    }
    HeaderValue::from_str(&links.join(", "))
        .ok()
        .filter(|_| !links.is_empty())
}
