//! The history: everything that is known once all has settled, from both sides of every promise.
//!
//! Invariant: it is read from what the outside saw (senders, channels, model, files in sprites) and from the public API; the
//! checker compares the two and trusts neither alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use roost_shared::{
    RunId,
    event::{Event, EventBody},
    sprite::SpriteOwner,
};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    api::{Effect, Run},
    faults::Struck,
    script::{self, Call},
    senders::Job,
    stage::Stage,
};
use crate::{cli::Failure, sprite::SpriteError, standin::github::MadeKind};

/// How long everything may take to come to rest after the last fault.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Journals read at a time.
const AT_ONCE: usize = 16;
/// Telegram's fixture gives a chat this number more than its place has.
const CHATS_FROM: i64 = 500_000;

/// A message that arrived at a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrived {
    /// The issue or chat, which is the job.
    pub job: u32,
    /// What it says, without the invisible marker.
    pub text: String,
}

/// A run with its journal.
#[derive(Debug, Clone)]
pub struct Told {
    /// The run.
    pub run: Run,
    /// The job it is about, if its order can be read.
    pub job: Option<u32>,
    /// The agent's handle.
    pub agent: String,
    /// Its journal.
    pub journal: Vec<Event>,
}

/// All that is known.
#[derive(Debug)]
pub struct History {
    /// What was sent.
    pub jobs: Vec<Job>,
    /// Every run.
    pub runs: Vec<Told>,
    /// Effects whose outcome nobody knows.
    pub unknown: Vec<Effect>,
    /// Effects that were given up.
    pub failed: Vec<Effect>,
    /// What arrived at the channels.
    pub arrived: Vec<Arrived>,
    /// Every time the model was asked.
    pub calls: Vec<Call>,
    /// The ledgers' lines, with how often each is there, per agent.
    pub ledger: BTreeMap<(String, String), usize>,
    /// What was done to the parts.
    pub struck: Vec<Struck>,
    /// Runs and effects that had not come to rest in time.
    pub restless: usize,
}

/// Waits until nothing moves any more; gives how many still do when the time is over. Runs that too many runners died
/// under are resumed then, as a person does who knows that it was not the run's fault.
///
/// # Errors
/// When the edge stays away.
pub async fn settle(stage: &Stage) -> Result<usize, Failure> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let moving = moving(stage).await?;
        let over = Instant::now() >= until;
        if over || (moving == 0 && resume(stage).await? == 0) {
            return Ok(moving);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Resumes the runs that are kept from runners; gives how many there were.
async fn resume(stage: &Stage) -> Result<usize, Failure> {
    let mut waiting = stage.api.runs(Some("waiting")).await?;
    waiting.retain(|run| run.waits.as_deref() == Some("poisoned"));
    for run in &waiting {
        stage.api.resume(run.id).await?;
    }
    Ok(waiting.len())
}

/// Runs that have not ended and effects that will still be tried or looked for.
///
/// # Errors
/// When the edge stays away.
pub async fn moving(stage: &Stage) -> Result<usize, Failure> {
    let mut moving = 0;
    for phase in ["queued", "running", "parked"] {
        moving += stage.api.runs(Some(phase)).await?.len();
    }
    for state in ["pending", "sending", "unknown"] {
        let effects = stage.api.effects(state).await?;
        moving += effects.iter().filter(|effect| effect.due_at.is_some()).count();
    }
    Ok(moving)
}

/// Reads everything.
///
/// # Errors
/// When the edge or the sprite host stays away.
pub async fn read(
    stage: &Stage,
    jobs: Vec<Job>,
    struck: Vec<Struck>,
    restless: usize,
) -> Result<History, Failure> {
    let runs = stage.api.runs(None).await?;
    let runs: Vec<Told> = stream::iter(runs)
        .map(|run| async {
            let journal = stage.api.journal(run.id).await?;
            Ok::<_, Failure>(told(run, journal))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(History {
        jobs,
        unknown: stage.api.effects("unknown").await?,
        failed: stage.api.effects("failed").await?,
        arrived: arrived(stage),
        calls: stage.calls.all(),
        ledger: ledger(stage, &runs).await?,
        runs,
        struck,
        restless,
    })
}

fn told(run: Run, journal: Vec<Event>) -> Told {
    let job = journal.first().and_then(|event| match &event.body {
        EventBody::Opened { work_item, .. } => script::job_in(&work_item.text),
        _ => None,
    });
    Told {
        agent: run.agent.handle.clone(),
        run,
        job,
        journal,
    }
}

fn arrived(stage: &Stage) -> Vec<Arrived> {
    let comments = stage
        .github
        .made()
        .into_iter()
        .filter(|made| made.kind == MadeKind::Comment);
    let comments = comments.map(|made| Arrived {
        job: u32::try_from(made.target).unwrap_or_default(),
        text: visible(&made.content),
    });
    let messages = stage.telegram.sent().into_iter().map(|sent| Arrived {
        job: u32::try_from(sent.chat - CHATS_FROM).unwrap_or_default(),
        text: sent.text,
    });
    comments.chain(messages).collect()
}

/// A comment as people see it.
fn visible(content: &str) -> String {
    content.split("<!--").next().unwrap_or_default().trim().to_owned()
}

/// The lines of every agent's ledger.
async fn ledger(stage: &Stage, runs: &[Told]) -> Result<BTreeMap<(String, String), usize>, Failure> {
    let away = |error| Failure::failed("chaos_sprites_away", format!("a ledger can't be read: {error}"));
    let sprites: BTreeSet<(&str, String)> = runs
        .iter()
        .map(|told| {
            (
                told.agent.as_str(),
                SpriteOwner::Agent.sprite(told.run.agent.id, told.run.id),
            )
        })
        .collect();
    let mut lines = BTreeMap::new();
    for (agent, sprite) in sprites {
        let text = match stage.sprites.sprite(sprite).read(script::LEDGER).await {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            // No command has come so far as to write.
            Err(SpriteError::File { .. } | SpriteError::Gone { .. }) => continue,
            Err(error) => return Err(away(error)),
        };
        for line in text.lines() {
            *lines.entry((agent.to_owned(), line.to_owned())).or_default() += 1;
        }
    }
    Ok(lines)
}

impl History {
    /// The runs of a job.
    pub fn runs_of(&self, job: u32) -> impl Iterator<Item = &Told> {
        self.runs.iter().filter(move |told| told.job == Some(job))
    }

    /// Whether what became of this run's reply is unknown.
    pub fn is_in_doubt(&self, run: RunId) -> bool {
        self.unknown.iter().any(|effect| effect.run == Some(run))
    }
}
