//! Integrations: their settings may be read, their secrets only written.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use roost_shared::IntegrationId;
use serde::Serialize;

use super::extract::{Body, Id};
use crate::{
    auth::session::Person,
    db::Scope,
    edge::Edge,
    error::ApiError,
    integration::{Integration, Settings},
    setup::{self, IntegrationDraft},
};

/// An integration, without its secrets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntegrationView {
    /// Its id.
    pub id: IntegrationId,
    /// Its name in URLs.
    pub name: String,
    /// Whether it takes deliveries and sends effects.
    pub enabled: bool,
    /// Its channel and what else may be shown.
    pub settings: Settings,
    /// Where its channel sends webhooks.
    pub webhook_url: String,
}

/// All of a kind.
#[derive(Debug, Serialize)]
pub struct All<T> {
    /// All there are.
    pub items: Vec<T>,
}

/// `GET /api/v1/integrations`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    person: Person,
) -> Result<Json<All<IntegrationView>>, ApiError> {
    let items = all(&edge, &person.scope).await?;
    Ok(Json(All { items }))
}

/// `POST /api/v1/integrations`.
pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Body(draft): Body<IntegrationDraft>,
) -> Result<(StatusCode, Json<IntegrationView>), ApiError> {
    let integration = setup::create_integration(&edge, &person.scope, draft).await?;
    Ok((
        StatusCode::CREATED,
        Json(view(&edge, &person.scope, &integration)),
    ))
}

/// `GET /api/v1/integrations/{id}`.
pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(id): Id<IntegrationId>,
) -> Result<Json<IntegrationView>, ApiError> {
    Ok(Json(one(&edge, &person.scope, id).await?))
}

/// `PUT /api/v1/integrations/{id}`.
pub(super) async fn update(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(id): Id<IntegrationId>,
    Body(draft): Body<IntegrationDraft>,
) -> Result<Json<IntegrationView>, ApiError> {
    let integration = setup::update_integration(&edge, &person.scope, id, draft).await?;
    Ok(Json(view(&edge, &person.scope, &integration)))
}

/// All integrations, oldest first.
pub(crate) async fn all(edge: &Edge, scope: &Scope) -> Result<Vec<IntegrationView>, ApiError> {
    let config = edge.configs.reload(scope).await?;
    let stored = config.integrations.iter();
    Ok(stored
        .map(|stored| view(edge, scope, &stored.integration))
        .collect())
}

/// One integration.
pub(crate) async fn one(edge: &Edge, scope: &Scope, id: IntegrationId) -> Result<IntegrationView, ApiError> {
    let config = edge.configs.reload(scope).await?;
    let stored = config
        .by_id(id)
        .ok_or_else(|| ApiError::not_found("integration"))?;
    Ok(view(edge, scope, &stored.integration))
}

fn view(edge: &Edge, scope: &Scope, integration: &Integration) -> IntegrationView {
    IntegrationView {
        id: integration.id,
        name: integration.name.clone(),
        enabled: integration.enabled,
        settings: integration.settings.clone(),
        webhook_url: format!(
            "{}/hooks/{}/{}",
            edge.settings.public_url,
            scope.workspace(),
            integration.name
        ),
    }
}
