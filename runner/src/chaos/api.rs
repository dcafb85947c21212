//! The public API as the chaos uses it: to set up before, and to read what became of everything after.
//!
//! Invariant: it asks again for as long as an edge may be away, so that reading the end does not depend on luck.

use std::time::Duration;

use roost_shared::{AgentId, EffectId, RunId, event::Event};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_client::{ApiClient, Patience},
    cli::Failure,
    edge_client::EdgeError,
};

/// How long an edge may be away before the chaos gives up.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(10),
    away: Duration::from_secs(60),
};

/// The secret of both integrations.
pub const SECRET: &str = "a-secret-for-chaos-only";
/// The token that comments are made with.
pub const GITHUB_TOKEN: &str = "a token for chaos only";
/// The Telegram bot's token.
pub const BOT_TOKEN: &str = "1:chaos";
/// The agents' handles.
pub const AGENTS: [&str; 2] = ["ada", "bob"];

/// A client of the public API.
#[derive(Clone)]
pub struct Api(ApiClient);

/// A run as the list shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Who works.
    pub agent: Worker,
    /// Where it stands.
    pub phase: String,
    /// What it wants of a person, if it waits for one.
    pub waits: Option<String>,
    /// The reply, or the code of the failure.
    pub outcome: Option<String>,
}

/// An agent as a run names it.
#[derive(Debug, Clone, Deserialize)]
pub struct Worker {
    /// Its id.
    pub id: AgentId,
    /// What it is called by.
    pub handle: String,
}

/// An effect as the list shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Effect {
    /// Its id.
    pub id: EffectId,
    /// The run it follows from.
    pub run: Option<RunId>,
    /// When something will be done about it, if it will.
    pub due_at: Option<i64>,
    /// Why.
    pub reason: Option<String>,
}

impl Api {
    /// A client of the edge at `base`.
    pub fn new(http: reqwest::Client, base: &str, token: String) -> Self {
        Self(ApiClient::new(http, base, token, PATIENCE))
    }

    /// Makes both integrations and both agents, and lets every agent hear its name on both.
    ///
    /// # Errors
    /// When the edge refuses or stays away.
    pub async fn set_up(&self, github: &str, telegram: &str) -> Result<(), Failure> {
        let github = json!({
            "name": "github",
            "settings": { "channel": "github", "api_url": github, "bot_login": "roost-chaos[bot]" },
            "secrets": { "channel": "github", "webhook_secret": SECRET, "token": GITHUB_TOKEN },
        });
        let telegram = json!({
            "name": "telegram",
            "settings": { "channel": "telegram", "api_url": telegram, "bot_username": "roost_chaos_bot", "members": [] },
            "secrets": { "channel": "telegram", "secret_token": SECRET, "bot_token": BOT_TOKEN },
        });
        let mut integrations = Vec::new();
        for draft in [github, telegram] {
            let made: Value = self.0.post("integrations", &draft).await.map_err(refused)?;
            integrations.push(made["id"].clone());
        }
        for handle in AGENTS {
            let draft = json!({
                "handle": handle, "name": handle, "persona": "You do what the script says.",
                "model": format!("scripted/{handle}"),
            });
            let agent: Value = self.0.post("agents", &draft).await.map_err(refused)?;
            for integration in &integrations {
                let rule =
                    json!({ "agent": agent["id"], "integration": integration, "rule": { "on": "mention" } });
                let _: Value = self.0.post("subscriptions", &rule).await.map_err(refused)?;
            }
        }
        Ok(())
    }

    /// The runs in a phase, or all.
    ///
    /// # Errors
    /// When the edge stays away.
    pub async fn runs(&self, phase: Option<&str>) -> Result<Vec<Run>, Failure> {
        let filters = [("phase", phase.map(str::to_owned))];
        let list = self.0.list("runs", &filters, usize::MAX).await;
        Ok(list.map_err(refused)?.items)
    }

    /// The effects in a state.
    ///
    /// # Errors
    /// When the edge stays away.
    pub async fn effects(&self, state: &str) -> Result<Vec<Effect>, Failure> {
        let list = self
            .0
            .list("effects", &[("state", Some(state.to_owned()))], usize::MAX)
            .await;
        Ok(list.map_err(refused)?.items)
    }

    /// A run's whole journal.
    ///
    /// # Errors
    /// When the edge stays away.
    pub async fn journal(&self, run: RunId) -> Result<Vec<Event>, Failure> {
        self.0.journal(run).await.map_err(refused)
    }

    /// Resumes a run that was kept from runners, as a person does who has looked at it.
    ///
    /// # Errors
    /// When the edge refuses or stays away.
    pub async fn resume(&self, run: RunId) -> Result<(), Failure> {
        let path = format!("runs/{run}/resume");
        let _: Value = self.0.post(&path, &json!({})).await.map_err(refused)?;
        Ok(())
    }
}

fn refused(error: EdgeError) -> Failure {
    match error {
        EdgeError::Unavailable { reason, .. } => {
            let message = format!("the edge stays away: {reason}; its log says why");
            Failure::failed("chaos_edge_away", message)
        }
        error => Failure::failed("chaos_refused", format!("the edge says no: {error}")),
    }
}
