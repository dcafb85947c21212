//! Creating and editing agents. An edit adds a version; runs under way keep theirs.

use roost_shared::{
    AgentId,
    agent::{AgentSpec, LaneRules, RunLimits},
    sprite::SpriteOwner,
};
use serde::{Deserialize, Serialize};

use super::{edit, enabled, json};
use crate::{
    config::Config,
    db::{Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// An agent as a person enters it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDraft {
    /// The name people call it by, without `@`.
    pub handle: String,
    /// The name people read.
    pub name: String,
    /// Who it is and how it works.
    #[serde(default)]
    pub persona: String,
    /// `provider/model`.
    pub model: String,
    /// Names of the tools it may use; empty means all.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Whose computer its runs work on.
    #[serde(default)]
    pub sprite: SpriteOwner,
    /// What becomes of messages that arrive while it is at work in their conversation.
    #[serde(default)]
    pub lane: LaneRules,
    /// What a run may use up.
    #[serde(default)]
    pub limits: RunLimits,
    /// Whether it gets new runs.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

/// Creates an agent in version 1.
///
/// # Errors
/// 400 when the draft makes no sense, 409 `name_taken`.
pub async fn create_agent(edge: &Edge, scope: &Scope, draft: AgentDraft) -> Result<AgentSpec, ApiError> {
    check_agent(&draft)?;
    let enabled = draft.enabled;
    let spec = spec(AgentId::new(edge.now(), edge.entropy()), 1, draft);
    let batch = vec![
        scope.guard(
            "name_taken",
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM agents WHERE workspace_id = ?1 AND handle = ?2)",
            [spec.handle.as_str().into()],
        ),
        scope.sql(
            "INSERT INTO agents (workspace_id, id, handle, enabled, version, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5)",
            [
                spec.id.into(),
                spec.handle.as_str().into(),
                enabled.into(),
                edge.now().into(),
            ],
        ),
        version(edge, scope, &spec)?,
        Config::bump(scope),
    ];
    edit(
        scope,
        batch,
        "an agent of that handle exists already; choose another handle",
    )
    .await?;
    Ok(spec)
}

/// Changes an agent by adding a version; runs under way keep theirs. The handle stays.
///
/// # Errors
/// 400 when the draft makes no sense, 404 when there is no such agent.
pub async fn update_agent(
    edge: &Edge,
    scope: &Scope,
    id: AgentId,
    draft: AgentDraft,
) -> Result<AgentSpec, ApiError> {
    check_agent(&draft)?;
    let rows = scope
        .query(
            "SELECT version, handle FROM agents WHERE workspace_id = ?1 AND id = ?2",
            [id.into()],
        )
        .await?;
    let row = rows.first().ok_or_else(|| ApiError::not_found("agent"))?;
    if row.text(1)? != draft.handle {
        return Err(ApiError::invalid(
            "an agent keeps its handle; create another one instead",
        ));
    }
    let (before, enabled) = (row.integer(0)?, draft.enabled);
    let spec = spec(id, before + 1, draft);
    let batch = vec![
        scope.guard(
            "agent_changed",
            "SELECT 1 FROM agents WHERE workspace_id = ?1 AND id = ?2 AND version = ?3",
            [id.into(), before.into()],
        ),
        scope.sql(
            "UPDATE agents SET enabled = ?3, version = ?4, updated_at = ?5 WHERE workspace_id = ?1 AND id = ?2",
            [id.into(), enabled.into(), spec.version.into(), edge.now().into()],
        ),
        version(edge, scope, &spec)?,
        Config::bump(scope),
    ];
    edit(
        scope,
        batch,
        "the agent was changed by somebody else in between; look at it again",
    )
    .await?;
    Ok(spec)
}

fn version(edge: &Edge, scope: &Scope, spec: &AgentSpec) -> Result<Statement, ApiError> {
    Ok(scope.sql(
        "INSERT INTO agent_versions (workspace_id, agent_id, version, spec, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        [spec.id.into(), spec.version.into(), json(spec)?, edge.now().into()],
    ))
}

fn spec(id: AgentId, version: i64, draft: AgentDraft) -> AgentSpec {
    let AgentDraft {
        handle,
        name,
        persona,
        model,
        tools,
        sprite,
        lane,
        limits,
        enabled: _,
    } = draft;
    AgentSpec {
        id,
        version,
        handle,
        name,
        persona,
        model,
        tools,
        sprite,
        lane,
        limits,
    }
}

fn check_agent(draft: &AgentDraft) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if draft.handle.is_empty() || draft.handle.len() > 39 || !draft.handle.chars().all(allowed) {
        return Err(ApiError::invalid(
            "a handle is 1 to 39 letters, digits, `-` and `_`",
        ));
    }
    if draft.name.trim().is_empty() || draft.name.len() > 100 {
        return Err(ApiError::invalid("an agent has a name of 1 to 100 bytes"));
    }
    if draft.persona.len() > 32_768 {
        return Err(ApiError::invalid("a persona is at most 32,768 bytes"));
    }
    if draft.lane.debounce_ms > LaneRules::MOST_DEBOUNCE_MS {
        return Err(ApiError::invalid(
            "a debounce is at most 300,000 ms, which is five minutes",
        ));
    }
    match draft.model.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(()),
        _ => Err(ApiError::invalid(
            "a model is written `provider/model`, e.g. `anthropic/claude-sonnet-4-5`",
        )),
    }
}
