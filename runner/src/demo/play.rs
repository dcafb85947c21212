//! The demo itself: set the stage, send the webhook, watch, and check that what was promised happened.

use std::{path::Path, time::Duration};

use roost_shared::{
    event::{Event, EventBody},
    run::Phase,
    transcript::{Answer, ToolCall},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use super::{
    api::{Agent, Api, GITHUB_TOKEN, WEBHOOK_SECRET},
    repository, script,
    summary::Summary,
    timeline::{Happening, Moment},
};
use crate::{
    all_in_one::house::House,
    cli::Failure,
    clock,
    config::{Config, PrivateAddresses},
    fixture::{Fixture, Order, Place},
    model,
    standin::{
        github::{GithubConfig, GithubServer, Made, MadeKind},
        model::ModelServer,
    },
};

const ASKED: &str = "@roost the tests fail since yesterday, can you have a look?";

/// How long after its run a reply may come.
const REPLY_WITHIN: Duration = Duration::from_secs(20);
/// Longer than any demo.
const A_DAY: Duration = Duration::from_secs(86_400);

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
    let clone_url = format!("{}/{}.git", github.url(), repository::NAME);

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
    if scripted.is_some() {
        as_scripted(&moments)?;
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
        moments.add(Instant::now(), Happening::Stored { run: run.clone() });

        let (events, mut happens) = mpsc::unbounded_channel();
        let mut following = std::pin::pin!(self.api.follow(&run, events));
        let mut followed = false;
        loop {
            tokio::select! {
                Some(event) = happens.recv() => {
                    if moments.event(event) {
                        return Ok(moments.told);
                    }
                }
                made = self.github.until(|made| made.get(moments.seen).cloned()) => {
                    if moments.made(made) {
                        return Ok(moments.told);
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

fn run_of(answer: &Value) -> Result<String, Failure> {
    let run = answer["runs"][0].as_str();
    run.map(str::to_owned).ok_or_else(|| {
        Failure::failed(
            "demo_failed",
            format!("no run follows from the webhook; the edge answered {answer}"),
        )
    })
}

/// The moments told so far.
struct Moments<'a, F: FnMut(&Moment)> {
    sent: Instant,
    tell: &'a mut F,
    told: Vec<Moment>,
    calls: Vec<ToolCall>,
    ended: Option<Phase>,
    replied: bool,
    /// Things made on GitHub that were told.
    seen: usize,
}

impl<'a, F: FnMut(&Moment)> Moments<'a, F> {
    fn begin(tell: &'a mut F) -> Self {
        Self {
            sent: Instant::now(),
            tell,
            told: Vec::new(),
            calls: Vec::new(),
            ended: None,
            replied: false,
            seen: 0,
        }
    }

    fn add(&mut self, at: Instant, what: Happening) {
        let after = at.saturating_duration_since(self.sent);
        let moment = Moment { after, what };
        (self.tell)(&moment);
        self.told.push(moment);
    }

    /// Takes an event of the journal; true when there is nothing more to wait for.
    fn event(&mut self, event: Event) -> bool {
        let now = Instant::now();
        match event.body {
            EventBody::Leased { runner } => self.add(now, Happening::Leased { runner }),
            EventBody::ModelAnswered(answer) => self.answered(now, &answer),
            EventBody::ModelFailed { code, message, .. } => {
                self.add(now, Happening::ModelFailed { code, message });
            }
            EventBody::ToolFinished { result, took_ms } => {
                let called = self.calls.iter().find(|call| call.id == result.call);
                let tool = called.map(|call| call.name.clone()).unwrap_or_default();
                self.add(
                    now,
                    Happening::Result {
                        tool,
                        output: result.text,
                        is_error: result.is_error,
                        took_ms,
                    },
                );
            }
            EventBody::Completed { .. } => self.end(now, Phase::Completed, None),
            EventBody::Failed { code, message } => {
                self.end(now, Phase::Failed, Some(format!("{code}: {message}")));
            }
            EventBody::Cancelled { by } => self.end(now, Phase::Cancelled, Some(format!("by {by}"))),
            _ => {}
        }
        self.is_over()
    }

    fn answered(&mut self, at: Instant, answer: &Answer) {
        self.add(
            at,
            Happening::Model {
                model: answer.model.clone(),
                text: answer.text(),
                took_ms: answer.took_ms,
            },
        );
        for call in answer.tool_calls() {
            self.calls.push(call.clone());
            let input = match call.input["command"].as_str().or(call.input["path"].as_str()) {
                Some(main) => main.to_owned(),
                None => call.input.to_string(),
            };
            self.add(
                at,
                Happening::Call {
                    tool: call.name.clone(),
                    input,
                },
            );
        }
    }

    fn end(&mut self, at: Instant, phase: Phase, reason: Option<String>) {
        self.ended = Some(phase);
        self.add(
            at,
            Happening::Ended {
                phase: phase.as_str().to_owned(),
                reason,
            },
        );
    }

    /// Takes what became visible on GitHub; true when there is nothing more to wait for.
    fn made(&mut self, made: Made) -> bool {
        let now = Instant::now();
        self.seen += 1;
        if made.kind == MadeKind::Reaction {
            self.add(
                now,
                Happening::Acknowledged {
                    reaction: made.content,
                },
            );
        } else {
            // What follows is an invisible marker.
            let text = made
                .content
                .split("<!--")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            self.replied = true;
            self.add(now, Happening::Reply { text });
        }
        self.is_over()
    }

    /// Until when to wait for the next moment: a reply follows the run's end at once, or something is wrong.
    fn patience(&self) -> Instant {
        let last = self.told.last().map_or(Duration::ZERO, |moment| moment.after);
        let span = if self.ended.is_some() { REPLY_WITHIN } else { A_DAY };
        self.sent + last + span
    }

    /// A completed run is over with its reply, any other at once.
    fn is_over(&self) -> bool {
        match self.ended {
            None => false,
            Some(Phase::Completed) => self.replied,
            Some(_) => true,
        }
    }
}

fn no_reply() -> Failure {
    let message = format!(
        "the run is done, but its reply did not come within {} s; run again with --log info to see why",
        REPLY_WITHIN.as_secs()
    );
    Failure::failed("demo_failed", message)
}

/// Whether the scripted work was really done: tests failed, then passed, and the reply is there.
fn as_scripted(moments: &[Moment]) -> Result<(), Failure> {
    let outputs: Vec<&str> = moments
        .iter()
        .filter_map(|moment| match &moment.what {
            Happening::Result { output, .. } => Some(output.as_str()),
            _ => None,
        })
        .collect();
    let failed = outputs.iter().position(|output| output.contains(script::FAILED));
    let passed = outputs.iter().rposition(|output| script::passed(output));
    let acknowledged = moments
        .iter()
        .any(|moment| matches!(moment.what, Happening::Acknowledged { .. }));
    let replied = moments
        .iter()
        .any(|moment| matches!(&moment.what, Happening::Reply { text } if text.starts_with("Found it")));
    let (Some(failed), Some(passed)) = (failed, passed) else {
        return Err(not_as_promised(
            "the tests did not fail first and pass in the end",
        ));
    };
    if passed <= failed {
        return Err(not_as_promised("the tests did not pass after the change"));
    }
    if !acknowledged {
        return Err(not_as_promised("the comment was not acknowledged with 👀"));
    }
    if !replied {
        return Err(not_as_promised(
            "the reply is not the one that tells what was done",
        ));
    }
    Ok(())
}

fn not_as_promised(what: &str) -> Failure {
    Failure::failed(
        "demo_failed",
        format!("the demo did not go as promised: {what}; see above"),
    )
}
