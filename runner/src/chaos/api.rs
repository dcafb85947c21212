//! The public API as the chaos uses it: to set up before, and to read what became of everything after.
//!
//! Invariant: it asks again for as long as an edge may be away, so that reading the end does not depend on luck.

use std::time::Duration;

use roost_shared::{AgentId, EffectId, RunId, event::Event};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::Failure;

/// How long an edge may be away before the chaos gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

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
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

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

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<Value>,
}

impl Api {
    /// A client of the edge at `base`.
    pub fn new(http: reqwest::Client, base: &str, token: String) -> Self {
        let base = base.to_owned();
        Self { http, base, token }
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
            let made: Value = self.post("integrations", &draft).await?;
            integrations.push(made["id"].clone());
        }
        for handle in AGENTS {
            let draft = json!({
                "handle": handle, "name": handle, "persona": "You do what the script says.",
                "model": format!("scripted/{handle}"),
            });
            let agent: Value = self.post("agents", &draft).await?;
            for integration in &integrations {
                let rule =
                    json!({ "agent": agent["id"], "integration": integration, "rule": { "on": "mention" } });
                let _: Value = self.post("subscriptions", &rule).await?;
            }
        }
        Ok(())
    }

    /// The runs in a phase, or all.
    ///
    /// # Errors
    /// When the edge stays away.
    pub async fn runs(&self, phase: Option<&str>) -> Result<Vec<Run>, Failure> {
        let filter = phase.map(|phase| format!("&phase={phase}")).unwrap_or_default();
        self.all(&format!("runs?limit=200{filter}")).await
    }

    /// The effects in a state.
    ///
    /// # Errors
    /// When the edge stays away.
    pub async fn effects(&self, state: &str) -> Result<Vec<Effect>, Failure> {
        self.all(&format!("effects?limit=200&state={state}")).await
    }

    /// A run's whole journal.
    ///
    /// # Errors
    /// When the edge stays away.
    pub async fn journal(&self, run: RunId) -> Result<Vec<Event>, Failure> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let from = events.len();
            let page: Page<Event> = self.get(&format!("runs/{run}/events?from={from}")).await?;
            events.extend(page.items);
            if page.next.is_none() {
                return Ok(events);
            }
        }
    }

    /// Resumes a run that was kept from runners, as a person does who has looked at it.
    ///
    /// # Errors
    /// When the edge refuses or stays away.
    pub async fn resume(&self, run: RunId) -> Result<(), Failure> {
        let _: Value = self.post(&format!("runs/{run}/resume"), &json!({})).await?;
        Ok(())
    }

    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page: Page<T> = self.get(&format!("{path}{cursor}")).await?;
            items.extend(page.items);
            match page.next.as_ref().and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(|| self.http.get(self.url(path))).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.ask(|| self.http.post(self.url(path)).json(body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<T, Failure> {
        let given_up_at = Instant::now() + PATIENCE;
        loop {
            let sent = request()
                .bearer_auth(&self.token)
                .timeout(Duration::from_secs(10))
                .send();
            let reason = match sent.await {
                Ok(response) if response.status().is_success() => match response.json().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error.to_string(),
                },
                Ok(response) if response.status().is_client_error() => {
                    let said = response.text().await.unwrap_or_default();
                    return Err(Failure::failed(
                        "chaos_refused",
                        format!("the edge says no: {said}"),
                    ));
                }
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= given_up_at {
                let message = format!("the edge stays away: {reason}; its log says why");
                return Err(Failure::failed("chaos_edge_away", message));
            }
            sleep(PAUSE).await;
        }
    }
}
