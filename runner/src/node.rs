//! A runner, assembled from its configuration: worker, brain, models, tools, sprites and doorbell.
//!
//! Invariant: all it knows of an edge is a URL and a token; it is the same beside its edge and far from it.

use std::{env, future::Future, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::net::TcpListener;

use crate::{
    brain::{Brain, BrainConfig, sweep::sweep_for_ever},
    cli::Failure,
    config::{Config, Secret},
    edge_client::EdgeClient,
    model::{Api, Gateway, ModelConfig, ProviderConfig},
    random,
    sprite::Sprites,
    tool::Tools,
    worker::{Worker, WorkerConfig},
};

/// A runner that has its socket, if it has a doorbell, and works once told to.
pub struct Node {
    name: String,
    worker: Worker,
    sweeper: BoxFuture<'static, ()>,
    bell: Option<TcpListener>,
}

impl Node {
    /// Assembles the runner that `config` describes, with these tools; call inside a runtime.
    ///
    /// # Errors
    /// When something is missing in the configuration, or the doorbell's address is taken.
    pub async fn assemble(config: &Config, tools: Tools) -> Result<Self, Failure> {
        let runner = &config.runner;
        let token = runner.token.as_ref().ok_or_else(|| {
            Failure::usage(
                "no_runner_token",
                "a runner needs a token: make one where the edge's master key is, with `roost token runner --name NAME`, \
                 and give it by ROOST_RUNNER_TOKEN",
            )
        })?;
        let sprites_token = config.sprites.token.as_ref().ok_or_else(|| {
            Failure::usage(
                "no_sprites_token",
                "a runner needs the token of its sprite host; give it by ROOST_SPRITES_TOKEN",
            )
        })?;
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Failure::failed("no_http_client", error))?;
        let edge = EdgeClient::new(http, &runner.edge, token.expose());
        let sprites = Sprites::new(&config.sprites.url, sprites_token.expose())
            .map_err(|error| Failure::usage("sprites_url", error))?;
        let gateway = Gateway::new(&with_usual_providers(config.models.clone()))
            .map_err(|error| Failure::usage(error.code(), error))?;
        let (bell, doorbell) = doorbell(config).await?;
        let name = runner.name.clone().unwrap_or_else(some_name);
        let worker = WorkerConfig {
            name: name.clone(),
            slots: runner.slots,
            doorbell,
            tick: Duration::from_millis(runner.tick_ms.max(50)),
            grace: Duration::from_secs(runner.grace_s),
        };
        let sweeper = Box::pin(sweep_for_ever(sprites.clone(), edge.clone()));
        let brain = Brain::new(BrainConfig::default(), edge.clone(), gateway, tools, sprites);
        Ok(Self {
            name,
            sweeper,
            worker: Worker::new(worker, edge, Arc::new(brain)),
            bell,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Works until `shutdown` completes and the runs are given back.
    ///
    /// # Errors
    /// When the edge refuses the runner.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Failure> {
        let bell = self.bell.map(|listener| {
            let router = self.worker.doorbell().router();
            tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!("the doorbell is out of order: {error}");
                }
            })
        });
        let sweeping = tokio::spawn(self.sweeper);
        let outcome = self.worker.run(shutdown).await;
        sweeping.abort();
        if let Some(bell) = bell {
            bell.abort();
        }
        outcome.map_err(|error| {
            let message = format!("the edge refuses this runner: {error}");
            Failure::failed(&error.0.code, message)
        })
    }
}

/// The doorbell's socket and how the edge reaches it.
async fn doorbell(config: &Config) -> Result<(Option<TcpListener>, Option<String>), Failure> {
    let Some(address) = config.runner.doorbell_listen else {
        return Ok((None, None));
    };
    let listen = |error| Failure::listen(address, &error);
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let url = match &config.runner.doorbell_url {
        Some(url) => url.clone(),
        None if bound.ip().is_unspecified() => {
            return Err(Failure::usage(
                "no_doorbell_url",
                format!(
                    "a doorbell on {bound} needs --doorbell-url: the address by which the edge reaches it"
                ),
            ));
        }
        None => format!("http://{bound}/doorbell"),
    };
    Ok((Some(listener), Some(url)))
}

/// The machine's name and a random number: no two processes share it.
fn some_name() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let number: [u8; 3] = random::bytes();
    format!(
        "{}-{}",
        if host.is_empty() { "runner" } else { &host },
        hex::encode(number)
    )
}

/// The configured providers, and those whose keys the environment holds under the names their own tools use.
pub fn with_usual_providers(mut models: ModelConfig) -> ModelConfig {
    let of = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    for (name, api, prefix) in [
        ("anthropic", Api::Anthropic, "ANTHROPIC"),
        ("openai", Api::Openai, "OPENAI"),
    ] {
        let (url, key) = (
            of(&format!("{prefix}_BASE_URL")),
            of(&format!("{prefix}_API_KEY")),
        );
        if url.is_none() && key.is_none() {
            continue;
        }
        let provider = models
            .providers
            .entry(name.to_owned())
            .or_insert_with(|| ProviderConfig::new(api, None, None));
        // What the file says of a provider counts more than variables that other programs use as well.
        if provider.base_url.is_none() {
            provider.base_url = url;
        }
        if provider.key.is_none() {
            provider.key = key.map(Into::into);
        }
    }
    models
}

impl Config {
    /// Gives the runner and the sprite host of one process the secret that only they share.
    pub(crate) fn share_sprites(&mut self, url: String, token: String) {
        self.sprites.url = url;
        self.sprites.token = Some(Secret::from(token));
    }
}
