//! A run's journal: in pages, or live as server-sent events.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, header::ACCEPT};
use roost_shared::{RunId, event::Event};
use serde::{Deserialize, Serialize};

use super::{
    extract::{Id, Params},
    follow::{self, Follower, Step},
    sse::{self, Message},
};
use crate::{auth::session::Person, edge::Edge, error::ApiError};

/// Events of a page where nothing else is asked for, and at most.
const MOST: u32 = 500;

/// Which events.
#[derive(Debug, Deserialize)]
pub struct Query {
    /// The first event's seq; 0 without. A stream's `Last-Event-ID` comes before it.
    #[serde(default)]
    pub from: u64,
    /// Events of a page, 1 to 500. A stream knows no pages.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A part of a journal.
#[derive(Debug, Serialize)]
pub struct Events {
    /// The events, in order.
    pub items: Vec<Event>,
    /// Where the next page begins; nothing when there is no more yet.
    pub next: Option<u64>,
}

/// `GET /api/v1/runs/{id}/events`.
pub(super) async fn read(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(run): Id<RunId>,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        let from = sse::last_id(&headers).map_or(query.from, |last| last.saturating_add(1));
        return live(edge, person, run, from).await;
    }
    let limit = query.limit.unwrap_or(MOST).clamp(1, MOST);
    let (head, items) = follow::look(&person, run, query.from, limit).await?;
    let next = items
        .last()
        .map(|event| event.seq + 1)
        .filter(|next| *next < head.next_seq);
    Ok(Json(Events { items, next }).into_response())
}

async fn live(edge: Arc<Edge>, person: Person, run: RunId, from: u64) -> Result<Response, ApiError> {
    let (head, _) = follow::look(&person, run, from, 0).await?;
    if head.is_over(from) {
        return Ok(sse::over());
    }
    let follower = Follower::new(edge, person, run, from);
    let stream = stream::unfold(follower, |mut follower| async move {
        let bytes = match follower.step().await {
            Step::Grown(events) => messages(&events),
            Step::Quiet => sse::heartbeat(),
            Step::Over | Step::Stopped => return None,
        };
        Some((bytes, follower))
    });
    Ok(sse::response(stream))
}

fn messages(events: &[Event]) -> Bytes {
    let mut text = String::new();
    for event in events {
        let message = Message {
            id: Some(event.seq),
            event: None,
            data: &serde_json::to_string(event).unwrap_or_default(),
        };
        message.write(&mut text);
    }
    text.into()
}
