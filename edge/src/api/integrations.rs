//! Integrations: their settings may be read, their secrets only written.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use roost_shared::IntegrationId;
use serde::Serialize;

use super::{
    extract::{Body, Id},
    standing::{Sending, Standings},
};
use crate::{
    auth::session::Person,
    db::Scope,
    edge::Edge,
    error::ApiError,
    ingress::sweep::Report,
    integration::{Integration, Settings},
    outbox::{self, health},
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
    /// How sending by it goes.
    pub sending: Sending,
    /// What the last look for missed deliveries found; nothing before the first.
    pub sweep: Option<Report>,
}

/// What resuming came to.
#[derive(Debug, Serialize)]
pub struct Resumed {
    /// Effects that waited and go out now, in order.
    pub waiting: u64,
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
    let view = one(&edge, &person.scope, integration.id).await?;
    Ok((StatusCode::CREATED, Json(view)))
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
    setup::update_integration(&edge, &person.scope, id, draft).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(Json(one(&edge, &person.scope, id).await?))
}

/// `POST /api/v1/integrations/{id}/resume`.
pub(super) async fn resume(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(id): Id<IntegrationId>,
) -> Result<Json<Resumed>, ApiError> {
    let waiting = health::resume(&edge, &person.scope, id).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(Json(Resumed { waiting }))
}

/// All integrations, oldest first.
pub(crate) async fn all(edge: &Edge, scope: &Scope) -> Result<Vec<IntegrationView>, ApiError> {
    let config = edge.configs.reload(scope).await?;
    let standings = Standings::read(scope).await?;
    let stored = config.integrations.iter();
    Ok(stored
        .map(|stored| view(edge, scope, &stored.integration, &standings))
        .collect())
}

/// One integration.
pub(crate) async fn one(edge: &Edge, scope: &Scope, id: IntegrationId) -> Result<IntegrationView, ApiError> {
    let config = edge.configs.reload(scope).await?;
    let stored = config
        .by_id(id)
        .ok_or_else(|| ApiError::not_found("integration"))?;
    let standings = Standings::read(scope).await?;
    Ok(view(edge, scope, &stored.integration, &standings))
}

fn view(edge: &Edge, scope: &Scope, integration: &Integration, standings: &Standings) -> IntegrationView {
    IntegrationView {
        id: integration.id,
        name: integration.name.clone(),
        enabled: integration.enabled,
        settings: integration.settings.clone(),
        webhook_url: integration.webhook_url(&edge.settings.public_url, scope.workspace()),
        sending: standings.sending(integration.id),
        sweep: standings.sweep(integration.id),
    }
}
