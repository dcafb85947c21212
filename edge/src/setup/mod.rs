//! Setting a workspace up: create it, and create and edit its integrations, agents and subscriptions.
//!
//! Every edit counts the workspace's configuration version up in its own batch, so that no edge acts on an older one.

mod agents;
mod integrations;
mod subscriptions;

use std::sync::Arc;

use http::StatusCode;
use roost_shared::UnixMillis;
use serde::Serialize;

use crate::{
    db::{Database, DbError, Mode, Scope, Statement, Value},
    error::ApiError,
};

pub use self::{
    agents::{AgentDraft, create_agent, update_agent},
    integrations::{IntegrationDraft, create_integration, update_integration},
    subscriptions::{SubscriptionDraft, subscribe, unsubscribe},
};

/// What a draft that does not say so is.
fn enabled() -> bool {
    true
}

/// Creates a workspace where it is missing.
///
/// # Errors
/// When the database fails.
pub async fn ensure_workspace(
    database: &Arc<dyn Database>,
    workspace: &str,
    now: UnixMillis,
) -> Result<(), DbError> {
    let insert = Statement::new(
        "INSERT INTO workspaces (id, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        vec![workspace.into(), now.into()],
    );
    database.batch(Mode::Write, vec![insert]).await.map(drop)
}

async fn edit(scope: &Scope, batch: Vec<Statement>, refusal: &'static str) -> Result<(), ApiError> {
    match scope.write(batch).await {
        Ok(_) => Ok(()),
        Err(DbError::Refused { code }) => Err(ApiError::new(StatusCode::CONFLICT, code, refusal)),
        Err(error) => Err(error.into()),
    }
}

fn json(value: &impl Serialize) -> Result<Value, ApiError> {
    Ok(serde_json::to_string(value)
        .map_err(|error| ApiError::invalid(error.to_string()))?
        .into())
}
