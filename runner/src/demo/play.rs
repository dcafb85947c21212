//! The demo itself: set the stage, send the webhook, watch.

use std::{path::Path, time::Duration};

use roost_shared::RunId;
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use super::{
    api::{Agent, Api, GITHUB_TOKEN, WEBHOOK_SECRET},
    moments::{Moments, REPLY_WITHIN},
    promise, repository, script,
    summary::Summary,
    timeline::{Happening, Moment},
    walls,
};
use crate::{
    all_in_one::house::House,
    cli::Failure,
    clock,
    config::{Config, PrivateAddresses},
    fixture::{Fixture, Order, Place},
    model,
    standin::{
        github::{GithubConfig, GithubServer},
        model::ModelServer,
    },
};

const ASKED: &str = "@roost the tests fail since yesterday, can you have a look?";

/// What to play with.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Configuration of models and more.
    pub config: Config,
    /// `provider/model`, or none for the scripted one.
    pub model: Option<String>,
    /// How long it may take.
    pub limit: Duration,
}

/// Plays the demo in `directory`; tells every moment as it comes.
///
/// # Errors
/// When something can't be started, takes too long, or does not happen as promised.
pub async fn play(demo: Demo, directory: &Path, tell: impl FnMut(&Moment)) -> Result<Summary, Failure> {
    let limit = demo.limit;
    let too_long = || {
        let message = format!(
            "the demo did not end within {} s; see what happened last above",
            limit.as_secs()
        );
        Failure::failed("demo_timeout", message)
    };
    tokio::time::timeout(limit, on_stage(demo, directory, tell))
        .await
        .map_err(|_| too_long())?
}

async fn on_stage(mut demo: Demo, directory: &Path, tell: impl FnMut(&Moment)) -> Result<Summary, Failure> {
    let bare = directory.join("git").join(format!("{}.git", repository::NAME));
    let scratch = directory.join("scratch");
    tokio::task::spawn_blocking(move || repository::make(&scratch, &bare))
        .await
        .map_err(|error| Failure::failed("demo_repository", error))??;
    let stand_in = |error: std::io::Error| Failure::listen("a port of 127.0.0.1", &error);
    let github = GithubServer::start(GithubConfig {
        token: Some(GITHUB_TOKEN.into()),
        repositories: Some(directory.join("git")),
        ..GithubConfig::default()
    })
    .await
    .map_err(stand_in)?;
    let seen = walls::github(&mut demo.config, github.address());
    let clone_url = format!("{seen}/{}.git", repository::NAME);

    let mut scripted = None;
    let model = match &demo.model {
        Some(model) => model.clone(),
        None => {
            let server = ModelServer::start(script::script(&clone_url))
                .await
                .map_err(stand_in)?;
            let provider = server.provider(model::Api::Anthropic);
            demo.config.models.providers.insert("scripted".into(), provider);
            scripted = Some(server);
            "scripted/demo".to_owned()
        }
    };
    demo.config.edge.listen = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    demo.config.edge.public_url = None;
    // The GitHub stand-in listens on loopback.
    demo.config.edge.private_addresses = PrivateAddresses::Allowed;
    demo.config.runner.grace_s = 1;
    demo.config.runner.name = Some("demo".into());

    let house = House::open(&directory.join("data"), demo.config).await?;
    let api = Api::new(house.url(), house.api_token("demo")?.token)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let living = tokio::spawn(house.run(async move {
        // A dropped sender stops the house as well.
        let _ = stopped.await;
    }));
    let watch = Watch {
        api: &api,
        github: &github,
        clone_url: &clone_url,
        model: &model,
    };
    let outcome = watch.the_run(tell).await;
    drop(stop);
    let ended = living
        .await
        .map_err(|error| Failure::failed("demo_failed", error))?;
    let moments = outcome?;
    ended?;
    promise::ended_well(&moments)?;
    if scripted.is_some() {
        promise::as_scripted(&moments)?;
    }
    Ok(Summary::of(&moments))
}

struct Watch<'a> {
    api: &'a Api,
    github: &'a GithubServer,
    clone_url: &'a str,
    model: &'a str,
}

impl Watch<'_> {
    /// Sets the agent up, sends the webhook, and collects what happens until the reply is there.
    async fn the_run(&self, mut tell: impl FnMut(&Moment)) -> Result<Vec<Moment>, Failure> {
        let agent = Agent {
            handle: "roost",
            name: "Roost",
            persona: format!(
                "You look after the repository {}. Clone it from {}. When something is broken, find the cause, mend it, \
                 run the tests again, commit, and reply in a few sentences. You can't push.",
                repository::NAME,
                self.clone_url
            ),
            model: self.model,
        };
        self.api.set_up(&self.github.url(), &agent).await?;

        let webhook = Fixture::GithubIssueComment.make(&Order {
            secret: WEBHOOK_SECRET,
            text: ASKED,
            id: 7,
            now: clock::now(),
            place: Place {
                repository: repository::NAME,
                number: 7,
                installation: None,
            },
            author: "ada",
        });
        let mut moments = Moments::begin(&mut tell);
        moments.add(
            Instant::now(),
            Happening::Webhook {
                by: "ada".into(),
                text: ASKED.into(),
            },
        );
        let answer = self.api.deliver(webhook).await?;
        let run = run_of(&answer)?;
        moments.add(Instant::now(), Happening::Stored { run: run.to_string() });

        let (events, mut happens) = mpsc::unbounded_channel();
        let mut following = std::pin::pin!(self.api.follow(run, events));
        let mut followed = false;
        loop {
            tokio::select! {
                Some(event) = happens.recv() => {
                    if moments.event(event) {
                        return Ok(moments.into_told());
                    }
                }
                made = self.github.until(|made| made.get(moments.seen()).cloned()) => {
                    if moments.made(made) {
                        return Ok(moments.into_told());
                    }
                }
                () = tokio::time::sleep_until(moments.patience()) => return Err(no_reply()),
                outcome = &mut following, if !followed => {
                    outcome?;
                    followed = true;
                }
            }
        }
    }
}

fn run_of(answer: &Value) -> Result<RunId, Failure> {
    let run = answer["runs"][0].as_str();
    run.and_then(|run| run.parse().ok()).ok_or_else(|| {
        Failure::failed(
            "demo_failed",
            format!("no run follows from the webhook; the edge answered {answer}"),
        )
    })
}

fn no_reply() -> Failure {
    let message = format!(
        "the run is done, but its reply did not come within {} s; run again with --log info to see why",
        REPLY_WITHIN.as_secs()
    );
    Failure::failed("demo_failed", message)
}
