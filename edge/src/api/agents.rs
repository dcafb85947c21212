//! Agents, in their current versions.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use roost_shared::{AgentId, UnixMillis, agent::AgentSpec};
use serde::Serialize;

use super::{
    extract::{Body, Id},
    integrations::All,
};
use crate::{
    auth::session::Person,
    db::{Row, Scope, ValueError},
    edge::Edge,
    error::ApiError,
    setup::{self, AgentDraft},
};

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentView {
    /// Who it is, in its current version.
    #[serde(flatten)]
    pub spec: AgentSpec,
    /// Whether it gets new runs.
    pub enabled: bool,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When its current version was.
    pub updated_at: UnixMillis,
}

macro_rules! select_agents {
    ($tail:literal) => {
        concat!(
            "SELECT v.spec, a.enabled, a.created_at, a.updated_at FROM agents a ",
            "JOIN agent_versions v ON v.agent_id = a.id AND v.version = a.version WHERE a.workspace_id = ?1 ",
            $tail
        )
    };
}

/// `GET /api/v1/agents`.
pub(super) async fn list(person: Person) -> Result<Json<All<AgentView>>, ApiError> {
    let items = all(&person.scope).await?;
    Ok(Json(All { items }))
}

/// `POST /api/v1/agents`.
pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Body(draft): Body<AgentDraft>,
) -> Result<(StatusCode, Json<AgentView>), ApiError> {
    let spec = setup::create_agent(&edge, &person.scope, draft).await?;
    Ok((StatusCode::CREATED, Json(one(&person.scope, spec.id).await?)))
}

/// `GET /api/v1/agents/{id}`.
pub(super) async fn show(person: Person, Id(id): Id<AgentId>) -> Result<Json<AgentView>, ApiError> {
    Ok(Json(one(&person.scope, id).await?))
}

/// `PUT /api/v1/agents/{id}`.
pub(super) async fn update(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(id): Id<AgentId>,
    Body(draft): Body<AgentDraft>,
) -> Result<Json<AgentView>, ApiError> {
    setup::update_agent(&edge, &person.scope, id, draft).await?;
    Ok(Json(one(&person.scope, id).await?))
}

/// All agents, oldest first.
pub(crate) async fn all(scope: &Scope) -> Result<Vec<AgentView>, ApiError> {
    let rows = scope.query(select_agents!("ORDER BY a.id"), []).await?;
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

/// One agent.
pub(crate) async fn one(scope: &Scope, id: AgentId) -> Result<AgentView, ApiError> {
    let rows = scope.query(select_agents!("AND a.id = ?2"), [id.into()]).await?;
    let row = rows.first().ok_or_else(|| ApiError::not_found("agent"))?;
    Ok(view(row)?)
}

fn view(row: &Row) -> Result<AgentView, ValueError> {
    Ok(AgentView {
        spec: row.json(0)?,
        enabled: row.integer(1)? == 1,
        created_at: UnixMillis(row.integer(2)?),
        updated_at: UnixMillis(row.integer(3)?),
    })
}
