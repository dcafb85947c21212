//! The stage: real processes of this program and what stands in for the world around them, tied together by links.
//!
//! Invariant: everything lies in one throw-away directory and on loopback ports of its own; nothing of a running
//! installation is read, and no variable of the caller's environment reaches a part.

use std::{sync::Arc, time::Duration};

use super::{
    Chaos,
    api::{self, Api},
    link::Link,
    part::Shared,
    plan::{self, Plan, RUNNERS},
    script::{self, Calls},
};
use crate::{
    all_in_one::keys::Use,
    cli::Failure,
    sprite::Sprites,
    standin::{
        github::{GithubConfig, GithubServer},
        model::ModelServer,
        telegram::TelegramServer,
    },
};

/// How long the model takes for each token: long enough that processes die in the middle of an answer.
const TOKEN: Duration = Duration::from_millis(8);

/// All of it.
pub struct Stage {
    /// The edges; more than one where the database is a server.
    pub edges: Vec<Shared>,
    /// The runners.
    pub runners: Vec<Shared>,
    /// The sprite host.
    pub host: Shared,
    /// The database server, where there is one.
    pub database: Option<Shared>,
    /// The links between parts.
    pub links: Vec<Arc<Link>>,
    /// Where webhooks are sent, one per edge.
    pub doors: Vec<String>,
    /// GitHub.
    pub github: GithubServer,
    /// Telegram.
    pub telegram: TelegramServer,
    /// Every time the model was asked.
    pub calls: Calls,
    /// The public API, past all links.
    pub api: Api,
    /// The sprites, past all links.
    pub sprites: Sprites,
    /// HTTP for the senders.
    pub http: reqwest::Client,
    /// The model; it answers as long as this is kept.
    _model: ModelServer,
}
impl Stage {
    /// Starts everything and sets it up.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn set(chaos: &Chaos) -> Result<Self, Failure> {
        let stand_in = |error: std::io::Error| Failure::listen("a port of 127.0.0.1", &error);
        let github = GithubServer::start(GithubConfig {
            token: Some(api::GITHUB_TOKEN.into()),
            ..GithubConfig::default()
        });
        let github = github.await.map_err(stand_in)?;
        let telegram = TelegramServer::start(api::BOT_TOKEN).await.map_err(stand_in)?;
        let calls = Calls::default();
        let model = ModelServer::start(script::script(calls.clone()))
            .await
            .map_err(stand_in)?;
        model.set_pace(TOKEN);
        let plan = Plan::write(chaos, &model)?;

        let mut links = Vec::new();
        let (database, address) = plan.database(&mut links).await?;
        plan.migrate(&address.direct).await?;
        let mut edges = Vec::new();
        let mut ports = Vec::new();
        for number in 0..if database.is_some() { 2 } else { 1 } {
            let (port, part) = plan.edge(number, &address.linked)?;
            edges.push(part);
            ports.push(port);
        }
        let (host_port, host) = plan.host()?;
        for part in edges.iter().chain([&host]) {
            part.lock().await.start().await?;
        }
        let sprites_link = plan::link(&mut links, "runner-sprites", host_port).await?;
        let master = plan.master_key()?;
        let mut runners = Vec::new();
        for number in 0..RUNNERS {
            let port = ports.get(number % ports.len()).copied().unwrap_or_default();
            let edge = plan::link(&mut links, "runner-edge", port).await?;
            let token = plan::mint(&master, Use::Runner, &format!("runner-{number}"))?;
            let part = plan.runner(number, &edge, token, &sprites_link);
            part.lock().await.start().await?;
            runners.push(part);
        }
        let mut doors = Vec::new();
        for port in &ports {
            doors.push(plan::link(&mut links, "sender-edge", *port).await?);
        }
        let github_link = plan::link(&mut links, "edge-channel", github.address().port()).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Failure::failed("no_http_client", error))?;
        let direct = format!("http://127.0.0.1:{}", ports.first().copied().unwrap_or_default());
        let api = Api::new(http.clone(), &direct, plan::mint(&master, Use::Api, "chaos")?);
        api.set_up(&github_link, &telegram.url()).await?;
        let sprites = Sprites::new(&format!("http://127.0.0.1:{host_port}"), &plan.sprites_token)
            .map_err(|error| Failure::failed("chaos_part", error))?;
        Ok(Self {
            edges,
            runners,
            host,
            database,
            links,
            doors,
            github,
            telegram,
            calls,
            api,
            sprites,
            http,
            _model: model,
        })
    }

    /// Every part.
    pub fn parts(&self) -> impl Iterator<Item = &Shared> {
        let rest = [&self.host].into_iter().chain(&self.database);
        self.edges.iter().chain(&self.runners).chain(rest)
    }

    /// Lets everything go on that was stopped, held or is down.
    ///
    /// # Errors
    /// When a part does not start any more.
    pub async fn heal(&self) -> Result<(), Failure> {
        for link in &self.links {
            link.let_go();
        }
        // The database first: the others wait for it.
        for part in self.database.iter().chain(self.parts()) {
            let mut part = part.lock().await;
            part.go_on();
            part.start().await?;
        }
        Ok(())
    }
}
