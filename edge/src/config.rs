//! What a workspace is set up to do: its integrations, agents and subscriptions, kept as one snapshot.
//!
//! An edge keeps the snapshot it read. It never acts on an outdated one: every batch that rests on it is guarded by
//! the snapshot's version, and every edit counts that version up in its own batch.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use roost_shared::{AgentId, IntegrationId, SubscriptionId, agent::AgentSpec};
use serde::{Deserialize, Serialize};

use crate::{
    auth::seal::{SealError, Sealer},
    db::{DbError, Scope, Statement},
    integration::{Integration, Secrets},
};

/// The refusal when a snapshot is outdated.
pub const CONFIG_CHANGED: &str = "config_changed";

/// One workspace's set-up at one version.
#[derive(Debug, Clone)]
pub struct Config {
    /// Counts up with every edit.
    pub version: i64,
    /// All integrations, enabled or not.
    pub integrations: Vec<StoredIntegration>,
    /// The enabled agents, in their current versions.
    pub agents: Vec<AgentSpec>,
    /// Who listens where, oldest first.
    pub subscriptions: Vec<Subscription>,
}

/// An integration with its secrets still sealed.
#[derive(Debug, Clone)]
pub struct StoredIntegration {
    /// What may be shown.
    pub integration: Integration,
    sealed: String,
}

/// A rule by which an agent listens to an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Who listens.
    pub agent: AgentId,
    /// Where.
    pub integration: IntegrationId,
    /// To what.
    pub rule: Rule,
}

/// What an agent listens to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Rule {
    /// Messages that name the agent, or speak to the bot itself.
    Mention,
    /// Things that carry this label.
    Label {
        /// The label's name; case does not matter.
        name: String,
    },
    /// Everything people say there.
    Any,
}

impl StoredIntegration {
    /// Opens the secrets, for one use.
    ///
    /// # Errors
    /// When they were sealed under another key or are damaged.
    pub fn open(&self, sealer: &Sealer) -> Result<Secrets, SealError> {
        let plain = sealer.open(&secrets_row(self.integration.id), &self.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| SealError::Damaged)
    }
}

/// The name of the row an integration's secrets are sealed for.
pub fn secrets_row(integration: IntegrationId) -> String {
    format!("integrations/{integration}/secrets")
}

impl Config {
    /// Reads the snapshot.
    ///
    /// # Errors
    /// [`DbError::Refused`] `workspace_unknown`, or when the database fails.
    pub async fn load(scope: &Scope) -> Result<Self, DbError> {
        let batch = vec![
            scope.guard("workspace_unknown", "SELECT 1 FROM workspaces WHERE id = ?1", []),
            scope.sql("SELECT config_version FROM workspaces WHERE id = ?1", []),
            scope.sql(
                "SELECT id, name, enabled, settings, secrets FROM integrations WHERE workspace_id = ?1 ORDER BY id",
                [],
            ),
            scope.sql(
                "SELECT v.spec FROM agents a JOIN agent_versions v ON v.agent_id = a.id AND v.version = a.version \
                 WHERE a.workspace_id = ?1 AND a.enabled = 1 ORDER BY a.id",
                [],
            ),
            scope.sql(
                "SELECT id, agent_id, integration_id, rule FROM subscriptions WHERE workspace_id = ?1 ORDER BY id",
                [],
            ),
        ];
        let results = scope.read(batch).await?;
        let [_, version, integrations, agents, subscriptions] = results.as_slice() else {
            return Err(DbError::Sql("the database answered with too few results".into()));
        };
        Ok(Self {
            version: version
                .first()
                .map(|row| row.integer(0))
                .transpose()?
                .unwrap_or_default(),
            integrations: integrations
                .iter()
                .map(|row| {
                    Ok(StoredIntegration {
                        integration: Integration {
                            id: row.parse(0)?,
                            name: row.text(1)?.to_owned(),
                            enabled: row.integer(2)? == 1,
                            settings: row.json(3)?,
                        },
                        sealed: row.text(4)?.to_owned(),
                    })
                })
                .collect::<Result<_, DbError>>()?,
            agents: agents
                .iter()
                .map(|row| Ok(row.json(0)?))
                .collect::<Result<_, DbError>>()?,
            subscriptions: subscriptions
                .iter()
                .map(|row| {
                    Ok(Subscription {
                        id: row.parse(0)?,
                        agent: row.parse(1)?,
                        integration: row.parse(2)?,
                        rule: row.json(3)?,
                    })
                })
                .collect::<Result<_, DbError>>()?,
        })
    }

    /// The integration of that name.
    pub fn by_name(&self, name: &str) -> Option<&StoredIntegration> {
        self.integrations
            .iter()
            .find(|stored| stored.integration.name == name)
    }

    /// The integration of that id.
    pub fn by_id(&self, id: IntegrationId) -> Option<&StoredIntegration> {
        self.integrations
            .iter()
            .find(|stored| stored.integration.id == id)
    }

    /// Holds a batch back when this snapshot is outdated.
    pub fn guard(&self, scope: &Scope) -> Statement {
        scope.guard(
            CONFIG_CHANGED,
            "SELECT 1 FROM workspaces WHERE id = ?1 AND config_version = ?2",
            [self.version.into()],
        )
    }

    /// The statement by which an edit makes every snapshot outdated.
    pub fn bump(scope: &Scope) -> Statement {
        scope.sql(
            "UPDATE workspaces SET config_version = config_version + 1 WHERE id = ?1",
            [],
        )
    }
}

/// The snapshots one edge keeps.
#[derive(Default)]
pub struct Configs(RwLock<HashMap<Arc<str>, Arc<Config>>>);

impl Configs {
    /// The kept snapshot, else a fresh one.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub async fn get(&self, scope: &Scope) -> Result<Arc<Config>, DbError> {
        let kept = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(scope.workspace())
            .cloned();
        match kept {
            Some(config) => Ok(config),
            None => self.reload(scope).await,
        }
    }

    /// A fresh snapshot, kept from now on.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub async fn reload(&self, scope: &Scope) -> Result<Arc<Config>, DbError> {
        let config = Arc::new(Config::load(scope).await?);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.insert(scope.workspace().into(), config.clone());
        Ok(config)
    }
}
