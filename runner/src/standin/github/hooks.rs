//! Webhooks of the stand-in: it delivers, once, and keeps a record that can be asked for, page by page, as GitHub does.
//! Its network to the receiver can be taken away.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::LINK};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    GithubServer, Shared, now,
    routes::{moment, refusal},
    token,
};
use crate::fixture::Signed;

/// GitHub waits this long for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The id of the one webhook.
const HOOK: u64 = 292_430_182;

/// Whose webhook it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOf {
    /// The App's.
    App,
    /// A repository's, `owner/name`.
    Repository(String),
    /// An organisation's.
    Organisation(String),
}

/// What becomes of the next deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryFault {
    /// The receiver can't be reached.
    Unreachable,
    /// The receiver has it, and its answer is lost.
    AnswerLost,
}

/// How often it is looked whether a delivery may be shown.
const HELD_BACK: Duration = Duration::from_millis(10);

/// Where the stand-in delivers to, and what it has delivered.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    hook: Option<(HookOf, String)>,
    faults: std::collections::VecDeque<DeliveryFault>,
    delivered: Vec<Delivered>,
    /// So many of the oldest are shown whole; who asks for another waits.
    shows: Option<usize>,
}

/// One attempt.
#[derive(Debug, Clone)]
struct Delivered {
    id: u64,
    guid: String,
    at: i64,
    redelivery: bool,
    status: String,
    status_code: u16,
    signed: Signed,
}

impl GithubServer {
    /// From now on there is a webhook, and this is where it goes.
    pub fn set_hook(&self, of: HookOf, url: &str) {
        self.shared.state().hooks.hook = Some((of, url.to_owned()));
    }

    /// The next deliveries fail like this.
    pub fn fail_deliveries(&self, fault: DeliveryFault, deliveries: usize) {
        let mut state = self.shared.state();
        state.hooks.faults.extend(std::iter::repeat_n(fault, deliveries));
    }

    /// Shows so many of the oldest deliveries whole, and lets wait who asks for another; with none it shows all.
    pub fn show_deliveries(&self, shows: Option<usize>) {
        self.shared.state().hooks.shows = shows;
    }

    /// Delivers an event to the webhook, once; the status that is recorded.
    pub async fn deliver(&self, signed: Signed) -> u16 {
        deliver(&self.shared, signed, Attempt::First).await
    }

    /// The GUIDs and status codes of all attempts so far, oldest first.
    pub fn delivered(&self) -> Vec<(String, u16)> {
        let state = self.shared.state();
        let delivered = state.hooks.delivered.iter();
        delivered.map(|one| (one.guid.clone(), one.status_code)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Again,
}

async fn deliver(shared: &Shared, signed: Signed, attempt: Attempt) -> u16 {
    let (url, fault) = {
        let mut state = shared.state();
        let url = state.hooks.hook.as_ref().map(|(_, url)| url.clone());
        (url.unwrap_or_default(), state.hooks.faults.pop_front())
    };
    let (status_code, status) = match fault {
        Some(DeliveryFault::Unreachable) => (502, "failed to connect to host".to_owned()),
        fault => match post(&url, &signed).await {
            Ok(_) if fault == Some(DeliveryFault::AnswerLost) => (504, "timed out".to_owned()),
            Ok(status) if status.is_success() => (status.as_u16(), "OK".to_owned()),
            Ok(status) => (
                status.as_u16(),
                format!("Invalid HTTP Response: {}", status.as_u16()),
            ),
            Err(_) => (502, "failed to connect to host".to_owned()),
        },
    };
    let guid = signed.headers.get("x-github-delivery");
    let guid = guid
        .and_then(|guid| guid.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let mut state = shared.state();
    let id = 100_000_000_001 + state.hooks.delivered.len() as u64;
    state.hooks.delivered.push(Delivered {
        id,
        guid,
        at: now(),
        redelivery: attempt == Attempt::Again,
        status,
        status_code,
        signed,
    });
    status_code
}

async fn post(url: &str, signed: &Signed) -> reqwest::Result<StatusCode> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let request = client
        .post(url)
        .headers(signed.headers.clone())
        .body(signed.body.clone());
    Ok(request.send().await?.status())
}

#[derive(Deserialize)]
pub(super) struct Page {
    per_page: Option<usize>,
    cursor: Option<String>,
}

/// Whose deliveries are asked for, by the path.
#[derive(Deserialize)]
pub(super) struct Place {
    organisation: Option<String>,
    owner: Option<String>,
    name: Option<String>,
    hook: Option<u64>,
    delivery: Option<u64>,
}

/// A status and GitHub's words.
type Refused = (StatusCode, &'static str);

/// Refuses who may not see the deliveries that the path is about.
fn may(shared: &Shared, place: &Place, headers: &HeaderMap) -> Result<(), Refused> {
    let hook = shared.state().hooks.hook.clone();
    let missing = || (StatusCode::NOT_FOUND, "Not Found");
    let asked = match (&place.organisation, &place.owner, &place.name) {
        (Some(organisation), _, _) => Some(HookOf::Organisation(organisation.clone())),
        (None, Some(owner), Some(name)) => Some(HookOf::Repository(format!("{owner}/{name}"))),
        _ => None,
    };
    match asked {
        Some(asked) => {
            let (HookOf::Repository(owner) | HookOf::Organisation(owner)) = &asked else {
                return Err(missing());
            };
            if !token::may_write(shared, headers, owner) {
                return Err((StatusCode::UNAUTHORIZED, "Bad credentials"));
            }
            let (of, _) = hook.ok_or_else(missing)?;
            let is_it = of == asked && place.hook.is_none_or(|id| id == HOOK);
            if is_it { Ok(()) } else { Err(missing()) }
        }
        None => {
            token::is_app(shared, headers).map_err(|words| (StatusCode::UNAUTHORIZED, words))?;
            let is_it = hook.is_some_and(|(of, _)| of == HookOf::App);
            if is_it { Ok(()) } else { Err(missing()) }
        }
    }
}

/// `GET /repos/{owner}/{repo}/hooks`, `GET /orgs/{organisation}/hooks`.
pub(super) async fn hooks(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    headers: HeaderMap,
) -> Response {
    if let Err((status, words)) = may(&shared, &place, &headers) {
        return refusal(status, words);
    }
    let url = shared.state().hooks.hook.as_ref().map(|(_, url)| url.clone());
    let config = json!({"url": url, "content_type": "json", "insecure_ssl": "0"});
    Json(json!([{"type": "Repository", "id": HOOK, "name": "web", "active": true, "events": ["*"], "config": config}]))
        .into_response()
}

/// `GET …/deliveries`: newest first; the cursor names the first of its page.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    Query(page): Query<Page>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    shared.requests.push((uri.path().to_owned(), Value::Null));
    if let Err((status, words)) = may(&shared, &place, &headers) {
        return refusal(status, words);
    }
    let per_page = page.per_page.unwrap_or(30).clamp(1, 100);
    let from = match page
        .cursor
        .as_deref()
        .map(|cursor| cursor.strip_prefix("v1_").map(str::parse::<u64>))
    {
        None => u64::MAX,
        Some(Some(Ok(id))) => id,
        Some(_) => return refusal(StatusCode::BAD_REQUEST, "Invalid cursor"),
    };
    let state = shared.state();
    let mut rest = state.hooks.delivered.iter().rev().filter(|one| one.id <= from);
    let rows: Vec<Value> = rest.by_ref().take(per_page).map(shown).collect();
    let next = rest.next().map(|one| {
        format!(
            "<https://api.github.com{}?per_page={per_page}&cursor=v1_{}>; rel=\"next\"",
            uri.path(),
            one.id
        )
    });
    drop(state);
    let mut response = Json(rows).into_response();
    if let Some(link) = next.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

/// `GET …/deliveries/{id}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    shared.requests.push((uri.path().to_owned(), Value::Null));
    if let Err((status, words)) = may(&shared, &place, &headers) {
        return refusal(status, words);
    }
    let Some((position, one)) = find(&shared, &place) else {
        return refusal(StatusCode::NOT_FOUND, "Not Found");
    };
    while shared.state().hooks.shows.is_some_and(|shows| position >= shows) {
        tokio::time::sleep(HELD_BACK).await;
    }
    let mut whole = shown(&one);
    let sent: Map<String, Value> = one
        .signed
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let payload: Value = serde_json::from_slice(&one.signed.body).unwrap_or(Value::Null);
    whole["request"] = json!({"headers": sent, "payload": payload});
    whole["response"] = json!({"headers": {}, "payload": null});
    Json(whole).into_response()
}

/// `POST …/deliveries/{id}/attempts`.
pub(super) async fn again(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    headers: HeaderMap,
) -> Response {
    if let Err((status, words)) = may(&shared, &place, &headers) {
        return refusal(status, words);
    }
    let Some((_, one)) = find(&shared, &place) else {
        return refusal(StatusCode::NOT_FOUND, "Not Found");
    };
    tokio::spawn(async move { deliver(&shared, one.signed, Attempt::Again).await });
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}

/// The delivery, and how many are older.
fn find(shared: &Shared, place: &Place) -> Option<(usize, Delivered)> {
    let state = shared.state();
    let mut all = state.hooks.delivered.iter().enumerate();
    let found = all.find(|(_, one)| Some(one.id) == place.delivery);
    found.map(|(position, one)| (position, one.clone()))
}

fn shown(one: &Delivered) -> Value {
    let header = |name: &str| one.signed.headers.get(name).and_then(|value| value.to_str().ok());
    let payload: Value = serde_json::from_slice(&one.signed.body).unwrap_or(Value::Null);
    json!({
        "id": one.id, "guid": one.guid, "delivered_at": moment(one.at), "redelivery": one.redelivery, "duration": 0.27,
        "status": one.status, "status_code": one.status_code, "event": header("x-github-event"),
        "action": payload["action"], "installation_id": payload["installation"]["id"],
        "repository_id": payload["repository"]["id"], "throttled_at": null,
    })
}
