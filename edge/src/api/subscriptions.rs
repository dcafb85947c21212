//! Subscriptions: which agent listens to what.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use roost_shared::{AgentId, IntegrationId, SubscriptionId};
use serde::Serialize;

use super::{
    extract::{Body, Id},
    integrations::All,
};
use crate::{
    auth::session::Person,
    config::Rule,
    db::Scope,
    edge::Edge,
    error::ApiError,
    setup::{self, SubscriptionDraft},
};

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubscriptionView {
    /// Its id.
    pub id: SubscriptionId,
    /// Who listens.
    pub agent: AgentId,
    /// Where.
    pub integration: IntegrationId,
    /// To what: `{"on": "mention"}`, `{"on": "label", "name": "…"}` or `{"on": "any"}`.
    pub rule: Rule,
}

/// `GET /api/v1/subscriptions`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    person: Person,
) -> Result<Json<All<SubscriptionView>>, ApiError> {
    let items = all(&edge, &person.scope).await?;
    Ok(Json(All { items }))
}

/// `POST /api/v1/subscriptions`.
pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Body(draft): Body<SubscriptionDraft>,
) -> Result<(StatusCode, Json<SubscriptionView>), ApiError> {
    let id = setup::subscribe(&edge, &person.scope, &draft).await?;
    let SubscriptionDraft {
        agent,
        integration,
        rule,
    } = draft;
    let view = SubscriptionView {
        id,
        agent,
        integration,
        rule,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// `DELETE /api/v1/subscriptions/{id}`.
pub(super) async fn remove(person: Person, Id(id): Id<SubscriptionId>) -> Result<StatusCode, ApiError> {
    setup::unsubscribe(&person.scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All subscriptions, oldest first.
pub(crate) async fn all(edge: &Edge, scope: &Scope) -> Result<Vec<SubscriptionView>, ApiError> {
    let config = edge.configs.reload(scope).await?;
    let subscriptions = config.subscriptions.iter().map(|subscription| SubscriptionView {
        id: subscription.id,
        agent: subscription.agent,
        integration: subscription.integration,
        rule: subscription.rule.clone(),
    });
    Ok(subscriptions.collect())
}
