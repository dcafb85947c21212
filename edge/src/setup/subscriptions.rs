//! Who listens where: adding and ending subscriptions.

use http::StatusCode;
use roost_shared::{AgentId, IntegrationId, SubscriptionId};
use serde::{Deserialize, Serialize};

use super::json;
use crate::{
    config::{Config, Rule},
    db::{DbError, Scope, Value},
    edge::Edge,
    error::ApiError,
};

/// A subscription as a person enters it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionDraft {
    /// Who listens.
    pub agent: AgentId,
    /// Where.
    pub integration: IntegrationId,
    /// To what.
    pub rule: Rule,
}

/// Lets an agent listen to an integration.
///
/// # Errors
/// 404 when either does not exist, 409 `already_subscribed`.
pub async fn subscribe(
    edge: &Edge,
    scope: &Scope,
    draft: &SubscriptionDraft,
) -> Result<SubscriptionId, ApiError> {
    if let Rule::Label { name } = &draft.rule
        && (name.trim().is_empty() || name.len() > 200)
    {
        return Err(ApiError::invalid("a label rule names a label of 1 to 200 bytes"));
    }
    let id = SubscriptionId::new(edge.now(), edge.entropy());
    let rule = json(&draft.rule)?;
    let (agent, integration) = (Value::from(draft.agent), Value::from(draft.integration));
    let batch = vec![
        scope.guard(
            "not_found",
            "SELECT 1 FROM agents a JOIN integrations i ON i.workspace_id = a.workspace_id \
             WHERE a.workspace_id = ?1 AND a.id = ?2 AND i.id = ?3",
            [agent.clone(), integration.clone()],
        ),
        scope.guard(
            "already_subscribed",
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM subscriptions WHERE workspace_id = ?1 AND agent_id = ?2 \
             AND integration_id = ?3 AND rule = ?4)",
            [agent.clone(), integration.clone(), rule.clone()],
        ),
        scope.sql(
            "INSERT INTO subscriptions (workspace_id, id, agent_id, integration_id, rule, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            [id.into(), agent, integration, rule, edge.now().into()],
        ),
        Config::bump(scope),
    ];
    match scope.write(batch).await {
        Ok(_) => Ok(id),
        Err(DbError::Refused { code: "not_found" }) => Err(ApiError::not_found("agent or integration")),
        Err(DbError::Refused { code }) => Err(ApiError::new(
            StatusCode::CONFLICT,
            code,
            "the agent listens to that already",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Ends a subscription; one that is not there is ended already.
///
/// # Errors
/// When the database fails.
pub async fn unsubscribe(scope: &Scope, id: SubscriptionId) -> Result<(), ApiError> {
    let delete = scope.sql(
        "DELETE FROM subscriptions WHERE workspace_id = ?1 AND id = ?2",
        [id.into()],
    );
    scope.write(vec![delete, Config::bump(scope)]).await?;
    Ok(())
}
