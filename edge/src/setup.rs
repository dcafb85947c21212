//! Setting a workspace up: create it, and create and edit its integrations, agents and subscriptions.
//!
//! Every edit counts the workspace's configuration version up in its own batch, so that no edge acts on an older one.

use std::sync::Arc;

use http::StatusCode;
use roost_shared::{
    AgentId, IntegrationId, SubscriptionId, UnixMillis,
    agent::{AgentSpec, RunLimits},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, Rule, secrets_row},
    db::{Database, DbError, Mode, Scope, Statement, Value},
    edge::Edge,
    error::ApiError,
    integration::{Integration, Secrets, Settings},
};

/// An integration as a person enters it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationDraft {
    /// Its name in URLs: lower-case letters, digits and `-`; fixed once created.
    pub name: String,
    /// What may be shown.
    pub settings: Settings,
    /// What may not. Needed to create; when editing, nothing keeps what is stored.
    #[serde(default)]
    pub secrets: Option<Secrets>,
    /// Whether it takes deliveries and sends effects.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

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
    /// What a run may use up.
    #[serde(default)]
    pub limits: RunLimits,
    /// Whether it gets new runs.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

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

/// Creates an integration.
///
/// # Errors
/// 400 when the draft makes no sense, 409 `name_taken`.
pub async fn create_integration(
    edge: &Edge,
    scope: &Scope,
    draft: IntegrationDraft,
) -> Result<Integration, ApiError> {
    let secrets = draft
        .secrets
        .as_ref()
        .ok_or_else(|| ApiError::invalid("a new integration needs its secrets"))?;
    check_integration(&draft, Some(secrets))?;
    let id = IntegrationId::new(edge.now(), edge.entropy());
    let sealed = seal(edge, id, secrets)?;
    let batch = vec![
        scope.guard(
            "name_taken",
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM integrations WHERE workspace_id = ?1 AND name = ?2)",
            [draft.name.as_str().into()],
        ),
        scope.sql(
            "INSERT INTO integrations (workspace_id, id, name, enabled, settings, secrets, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            [
                id.into(),
                draft.name.as_str().into(),
                draft.enabled.into(),
                json(&draft.settings)?,
                sealed.into(),
                edge.now().into(),
            ],
        ),
        Config::bump(scope),
    ];
    edit(
        scope,
        batch,
        "an integration of that name exists already; choose another name",
    )
    .await?;
    Ok(Integration {
        id,
        name: draft.name,
        enabled: draft.enabled,
        settings: draft.settings,
    })
}

/// Changes an integration; its name and channel stay.
///
/// # Errors
/// 400 when the draft makes no sense, 404 when there is no such integration.
pub async fn update_integration(
    edge: &Edge,
    scope: &Scope,
    id: IntegrationId,
    draft: IntegrationDraft,
) -> Result<Integration, ApiError> {
    check_integration(&draft, draft.secrets.as_ref())?;
    let config = edge.configs.reload(scope).await?;
    let stored = config
        .by_id(id)
        .ok_or_else(|| ApiError::not_found("integration"))?;
    if stored.integration.name != draft.name
        || stored.integration.settings.channel() != draft.settings.channel()
    {
        return Err(ApiError::invalid(
            "an integration keeps its name and channel; create another one instead",
        ));
    }
    let sealed = draft
        .secrets
        .as_ref()
        .map(|secrets| seal(edge, id, secrets))
        .transpose()?;
    let batch = vec![
        scope.sql(
            "UPDATE integrations SET enabled = ?3, settings = ?4, secrets = coalesce(?5, secrets), updated_at = ?6 \
             WHERE workspace_id = ?1 AND id = ?2",
            [id.into(), draft.enabled.into(), json(&draft.settings)?, sealed.into(), edge.now().into()],
        ),
        Config::bump(scope),
    ];
    scope.write(batch).await?;
    Ok(Integration {
        id,
        name: draft.name,
        enabled: draft.enabled,
        settings: draft.settings,
    })
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

async fn edit(scope: &Scope, batch: Vec<Statement>, refusal: &'static str) -> Result<(), ApiError> {
    match scope.write(batch).await {
        Ok(_) => Ok(()),
        Err(DbError::Refused { code }) => Err(ApiError::new(StatusCode::CONFLICT, code, refusal)),
        Err(error) => Err(error.into()),
    }
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
        limits,
    }
}

fn seal(edge: &Edge, id: IntegrationId, secrets: &Secrets) -> Result<String, ApiError> {
    let plain = serde_json::to_vec(secrets).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(edge
        .sealer
        .seal(edge.ports.random.as_ref(), &secrets_row(id), &plain)?)
}

fn json(value: &impl Serialize) -> Result<Value, ApiError> {
    Ok(serde_json::to_string(value)
        .map_err(|error| ApiError::invalid(error.to_string()))?
        .into())
}

fn check_integration(draft: &IntegrationDraft, secrets: Option<&Secrets>) -> Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if draft.name.is_empty() || draft.name.len() > 40 || !draft.name.chars().all(plain) {
        return Err(ApiError::invalid(
            "an integration's name is 1 to 40 lower-case letters, digits and `-`",
        ));
    }
    let api_url = match &draft.settings {
        Settings::Github(settings) => Some(&settings.api_url),
        Settings::Telegram(settings) => Some(&settings.api_url),
        Settings::Generic(settings) => settings.reply_url.as_ref(),
    };
    if let Some(url) = api_url
        && !(url.starts_with("https://") || url.starts_with("http://"))
    {
        return Err(ApiError::invalid(format!(
            "{url:?} is no address; it begins with https://"
        )));
    }
    match (&draft.settings, secrets) {
        (_, None) => Ok(()),
        (
            Settings::Github(_),
            Some(Secrets::Github {
                webhook_secret,
                private_key,
                token,
            }),
        ) => {
            if webhook_secret.is_empty() {
                return Err(ApiError::invalid(
                    "GitHub's webhook secret is empty; set one on both sides",
                ));
            }
            if private_key.is_none() && token.is_none() {
                return Err(ApiError::invalid(
                    "to answer on GitHub, enter the App's private key or a token",
                ));
            }
            Ok(())
        }
        (
            Settings::Telegram(_),
            Some(Secrets::Telegram {
                secret_token,
                bot_token,
            }),
        ) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if secret_token.is_empty() || secret_token.len() > 256 || !secret_token.chars().all(allowed) {
                return Err(ApiError::invalid(
                    "Telegram's secret token is 1 to 256 of A-Z a-z 0-9 _ -",
                ));
            }
            if bot_token.is_empty() {
                return Err(ApiError::invalid("the bot token is empty; @BotFather gives one"));
            }
            Ok(())
        }
        (Settings::Generic(_), Some(Secrets::Generic { signing })) => {
            if signing.is_empty() || signing.iter().any(|secret| secret.len() < 8) {
                return Err(ApiError::invalid(
                    "a generic webhook needs a signing secret of at least 8 characters",
                ));
            }
            Ok(())
        }
        (settings, Some(_)) => Err(ApiError::invalid(format!(
            "these are not the secrets of a {} integration",
            settings.channel()
        ))),
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
    match draft.model.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(()),
        _ => Err(ApiError::invalid(
            "a model is written `provider/model`, e.g. `anthropic/claude-sonnet-4-5`",
        )),
    }
}
