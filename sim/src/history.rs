//! What happened, read from both sides once all has come to rest: what senders and runners were told, what the database holds,
//! and what stands in the channels.

use std::sync::{Arc, Mutex, PoisonError};

use roost_edge::{
    db::{DbError, Scope},
    runs::journal,
};
use roost_shared::{
    RunId,
    event::{Event, EventBody},
};

use crate::{channel::Said, person::Deed, sender::Message};

/// An append that a runner was told is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// The run.
    pub run: RunId,
    /// The lease's epoch.
    pub epoch: u64,
    /// The seq of the first event.
    pub seq: u64,
    /// The events.
    pub events: Vec<EventBody>,
}

/// All appends that were acknowledged. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Acks(Arc<Mutex<Vec<Ack>>>);

impl Acks {
    /// Adds one.
    pub fn add(&self, ack: Ack) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Ack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One run as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTold {
    /// The run.
    pub id: RunId,
    /// Its phase.
    pub phase: String,
    /// Its journal.
    pub journal: Vec<Event>,
    /// The states of its replies in the outbox.
    pub replies: Vec<String>,
    /// The states of its questions in the outbox.
    pub questions: Vec<String>,
}

/// Everything the end is judged by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What people said.
    pub messages: Vec<Message>,
    /// What a person did to runs.
    pub deeds: Vec<Deed>,
    /// What runners were told.
    pub acks: Vec<Ack>,
    /// The runs.
    pub runs: Vec<RunTold>,
    /// What stands in the channels.
    pub said: Vec<Said>,
    /// How often a host panicked.
    pub panics: usize,
}

/// Reads the runs.
///
/// # Errors
/// When the store fails.
pub async fn runs(scope: &Scope) -> Result<Vec<RunTold>, DbError> {
    let rows = scope
        .query(
            "SELECT id, phase FROM runs WHERE workspace_id = ?1 ORDER BY id",
            [],
        )
        .await?;
    let mut runs = Vec::new();
    for row in &rows {
        let id: RunId = row.parse(0)?;
        let mut posts = [Vec::new(), Vec::new()];
        let effects = scope
            .query(
                "SELECT state, idempotency_key LIKE '%/question/%' FROM effects WHERE workspace_id = ?1 AND run_id = ?2 \
                 AND effect ->> '$.type' = 'reply' ORDER BY id",
                [id.into()],
            )
            .await?;
        for effect in &effects {
            let kind = usize::from(effect.unsigned(1)? > 0);
            posts[kind].push(effect.text(0)?.to_owned());
        }
        let [replies, questions] = posts;
        runs.push(RunTold {
            id,
            phase: row.text(1)?.to_owned(),
            journal: journal::page(scope, id, 0).await?,
            replies,
            questions,
        });
    }
    Ok(runs)
}

/// How many runs and effects wait for something: one that failed, to be tried again.
///
/// # Errors
/// When the store fails.
pub async fn restless(scope: &Scope) -> Result<u64, DbError> {
    let rows = scope
        .query(
            "SELECT (SELECT count(*) FROM runs WHERE workspace_id = ?1 \
             AND phase NOT IN ('completed', 'cancelled')) \
             + (SELECT count(*) FROM effects WHERE workspace_id = ?1 AND due_at IS NOT NULL)",
            [],
        )
        .await?;
    Ok(rows
        .first()
        .map(|row| row.unsigned(0))
        .transpose()?
        .unwrap_or_default())
}
