//! The endpoints for sprites as a whole: create, show, list, update, restart, check, delete.
//!
//! Invariant: pages are ordered by name and continue after the last name of the page before, so a sprite that stays is seen
//! exactly once however many come and go meanwhile.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time;

use super::{Host, error::ApiError, local::LocalSprite, rate::Left, states};
use crate::sprite::{
    HOME,
    wire_sprites::{Checked, CreateSprite, Restarted, SpriteInfo, SpritePage, UpdateSprite},
};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;
/// How long a create may wait for room; official clients wait 120 s for the answer.
const CAPACITY_WITHIN: Duration = Duration::from_secs(100);
/// Room may come sooner than a refusal says: a sprite is deleted.
const CAPACITY_EVERY: Duration = Duration::from_secs(1);

/// `POST /v1/sprites`.
pub(super) async fn create(
    State(host): State<Host>,
    body: Result<Json<CreateSprite>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let (sprite, left) = create_within(&host, request).await?;
    let mut response = (StatusCode::CREATED, Json(sprite.info(&host.address))).into_response();
    left.put(response.headers_mut());
    Ok(response)
}

async fn create_within(host: &Host, request: CreateSprite) -> Result<(Arc<LocalSprite>, Left), ApiError> {
    let patience = if request.wait_for_capacity {
        CAPACITY_WITHIN
    } else {
        Duration::ZERO
    };
    let until = Instant::now() + patience;
    loop {
        let (store, request) = (host.store.clone(), request.clone());
        let created = tokio::task::spawn_blocking(move || store.create(request)).await;
        let created = created
            .map_err(|error| ApiError::internal("the sprite was not created", &io::Error::other(error)))?;
        match created {
            Err(refused) if refused.retry_after().is_some() && Instant::now() < until => {
                time::sleep(CAPACITY_EVERY).await;
            }
            created => return created,
        }
    }
}

/// `GET /v1/sprites/{name}`.
pub(super) async fn show(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<SpriteInfo>, ApiError> {
    Ok(Json(host.store.get(&name)?.info(&host.address)))
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    prefix: String,
    max_results: Option<usize>,
    #[serde(default)]
    continuation_token: String,
    #[serde(default)]
    bulk_load: bool,
}

/// `GET /v1/sprites?prefix=&max_results=&continuation_token=&bulk_load=`; as NDJSON the stream of states.
pub(super) async fn list(
    State(host): State<Host>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Response {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("application/x-ndjson")) {
        return states::stream(host, query.prefix, query.max_results.unwrap_or(usize::MAX));
    }
    let most = query.max_results.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let mut sprites = host
        .store
        .list(&query.prefix, &query.continuation_token, most + 1);
    let has_more = sprites.len() > most;
    sprites.truncate(most);
    let last = sprites.last().map(|sprite| sprite.record.name.clone());
    let page = SpritePage {
        next_continuation_token: last.filter(|_| has_more),
        has_more,
        sprites: sprites
            .iter()
            .map(|sprite| {
                if query.bulk_load {
                    brief(sprite)
                } else {
                    sprite.info(&host.address)
                }
            })
            .collect(),
        counts: host.store.counts(),
    };
    Json(page).into_response()
}

/// What a client that loads thousands wants to know.
fn brief(sprite: &LocalSprite) -> SpriteInfo {
    SpriteInfo {
        id: sprite.record.id.clone(),
        name: sprite.record.name.clone(),
        status: sprite.state().as_str().into(),
        created_at: Some(sprite.record.created_at.clone()),
        ..SpriteInfo::default()
    }
}

/// `PUT /v1/sprites/{name}`.
pub(super) async fn update(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Result<Json<UpdateSprite>, JsonRejection>,
) -> Result<Json<SpriteInfo>, ApiError> {
    let Json(change) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let store = host.store.clone();
    let updated = tokio::task::spawn_blocking(move || store.update(&name, change)).await;
    let sprite = updated
        .map_err(|error| ApiError::internal("the sprite was not changed", &io::Error::other(error)))??;
    Ok(Json(sprite.info(&host.address)))
}

/// `POST /v1/sprites/{name}/upgrade`. What runs a sprite is the host itself, so every sprite has its latest version.
pub(super) async fn upgrade(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    host.store.get(&name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/sprites/{name}/restart`: ends all its processes, keeps its files.
pub(super) async fn restart(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Restarted>, ApiError> {
    // In a task of its own, so that it is done whole even if the client leaves.
    let restarting = tokio::spawn(async move { host.store.restart(&name).await });
    let sprite = restarting
        .await
        .map_err(|error| ApiError::internal("the sprite was not restarted", &error.into()))??;
    Ok(Json(Restarted {
        sprite_name: sprite.record.name.clone(),
        machine_id: sprite.record.id.clone(),
        message: "the sprite was restarted: its processes are gone, its files are there".into(),
    }))
}

/// `GET /v1/sprites/{name}/check`: whether its file system is there. Doesn't wake it.
pub(super) async fn check(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Checked>, ApiError> {
    let (sprite, start) = (host.store.get(&name)?, Instant::now());
    let home = sprite.root.host_path().join(HOME.trim_start_matches('/'));
    let reason = match tokio::fs::metadata(&home).await {
        Ok(home) if home.is_dir() => None,
        Ok(_) => Some("its home is not a directory".to_owned()),
        Err(error) => Some(format!("its home can't be read: {error}")),
    };
    let status = if reason.is_none() { "healthy" } else { "unhealthy" };
    Ok(Json(Checked {
        sprite_name: sprite.record.name.clone(),
        sprite_id: sprite.record.id.clone(),
        status: status.into(),
        reason,
        checked_at: jiff::Timestamp::now().to_string(),
        elapsed: start.elapsed().as_secs_f64() * 1_000.0,
    }))
}

/// `DELETE /v1/sprites/{name}`.
pub(super) async fn remove(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    // In a task of its own, so that it is done whole even if the client leaves.
    let deleting = tokio::spawn(async move { host.store.delete(&name).await });
    deleting
        .await
        .map_err(|error| ApiError::internal("the sprite was not deleted", &error.into()))??;
    Ok(StatusCode::NO_CONTENT)
}
