//! The endpoints for sprites as a whole: create, show, list, delete.
//!
//! Invariant: pages are ordered by name and continue after the last name of the page before, so a sprite that stays is seen
//! exactly once however many come and go meanwhile.

use std::io;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;

use super::{Host, error::ApiError};
use crate::sprite::wire::{CreateSprite, SpriteInfo, SpritePage};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;

/// `POST /v1/sprites`.
pub(super) async fn create(
    State(host): State<Host>,
    body: Result<Json<CreateSprite>, JsonRejection>,
) -> Result<(StatusCode, Json<SpriteInfo>), ApiError> {
    let Json(request) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let store = host.store.clone();
    let created = tokio::task::spawn_blocking(move || store.create(request)).await;
    let created = created
        .map_err(|error| ApiError::internal("the sprite was not created", &io::Error::other(error)))??;
    Ok((StatusCode::CREATED, Json(created)))
}

/// `GET /v1/sprites/{name}`.
pub(super) async fn show(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<SpriteInfo>, ApiError> {
    Ok(Json(host.store.get(&name)?.info()))
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    prefix: String,
    max_results: Option<usize>,
    #[serde(default)]
    continuation_token: String,
}

/// `GET /v1/sprites?prefix=&max_results=&continuation_token=`.
pub(super) async fn list(State(host): State<Host>, Query(query): Query<ListQuery>) -> Json<SpritePage> {
    let most = query.max_results.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let mut sprites = host
        .store
        .list(&query.prefix, &query.continuation_token, most + 1);
    let has_more = sprites.len() > most;
    sprites.truncate(most);
    let last = sprites.last().map(|sprite| sprite.name.clone());
    Json(SpritePage {
        next_continuation_token: last.filter(|_| has_more),
        has_more,
        sprites,
    })
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
