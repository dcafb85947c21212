//! The edge's public API as the demo uses it: set up an agent, follow a journal.

use std::time::Duration;

use roost_shared::{RunId, event::Event};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api_client::{ApiClient, Patience},
    cli::Failure,
    edge_client::answer,
};

/// The secret that the demo's webhooks are signed with.
pub(super) const WEBHOOK_SECRET: &str = "a secret for the demo only";

/// The token that the demo's replies are sent with.
pub(super) const GITHUB_TOKEN: &str = "a token for the demo only";

/// A client of the public API.
#[derive(Clone)]
pub(super) struct Api {
    http: reqwest::Client,
    hook: String,
    client: ApiClient,
}

/// The agent as the demo wants it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Agent<'a> {
    pub(super) handle: &'a str,
    pub(super) name: &'a str,
    pub(super) persona: String,
    pub(super) model: &'a str,
}

impl Api {
    pub(super) fn new(base: &str, token: String) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Failure::failed("no_http_client", error))?;
        Ok(Self {
            hook: format!("{base}/hooks/main/github"),
            client: ApiClient::new(http.clone(), base, token, Patience::ONCE),
            http,
        })
    }

    /// Makes the GitHub integration, the agent, and the subscription of one to the other.
    pub(super) async fn set_up(&self, github: &str, agent: &Agent<'_>) -> Result<(), Failure> {
        let integration = self
            .post(
                "integrations",
                &json!({
                    "name": "github",
                    "settings": { "channel": "github", "api_url": github, "bot_login": "roost-demo[bot]" },
                    "secrets": { "channel": "github", "webhook_secret": WEBHOOK_SECRET, "token": GITHUB_TOKEN },
                }),
            )
            .await?;
        let agent = self.post("agents", agent).await?;
        let subscription =
            json!({ "agent": agent["id"], "integration": integration["id"], "rule": { "on": "mention" } });
        self.post("subscriptions", &subscription).await?;
        Ok(())
    }

    /// Posts a webhook; gives the edge's answer.
    pub(super) async fn deliver(&self, webhook: crate::fixture::Signed) -> Result<Value, Failure> {
        let request = self.http.post(&self.hook).headers(webhook.headers);
        let answered = answer(request.body(webhook.body)).await;
        answered.map_err(|error| Failure::edge(self.client.base(), error))
    }

    /// Sends the run's events to `events`, each once and in order, until the run has ended.
    pub(super) async fn follow(
        &self,
        run: RunId,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<(), Failure> {
        // Nobody listens any more when the demo is over.
        let tell = |event| drop(events.send(event));
        let followed = self.client.follow(run, &mut 0, tell).await;
        followed.map_err(|error| Failure::edge(self.client.base(), error))
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        let posted = self.client.post(path, body).await;
        posted.map_err(|error| Failure::edge(self.client.base(), error))
    }
}
