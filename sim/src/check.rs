//! The checker: what was promised, held against what happened.
//!
//! Invariant: only what the outbox itself calls unknown may be missing in a channel, and only what its author deleted may be missing
//! in the journals; everything else that is missing is lost.

mod people;

use std::collections::BTreeMap;

use roost_shared::{
    event::{Change, Event, EventBody},
    run::{Phase, RunState, flaws},
};

use crate::{
    chance::Luck,
    history::{History, RunTold},
};

/// What the checker counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages.
    pub messages: usize,
    /// Those answered 2xx.
    pub accepted: usize,
    /// Runs.
    pub runs: usize,
    /// Replies in the channels.
    pub replies: usize,
    /// Replies that a person is asked about.
    pub in_doubt: usize,
    /// Leases that ended without a word of their runner.
    pub broken_leases: usize,
    /// Messages that were edited or deleted.
    pub changed: usize,
    /// Runs that were cancelled.
    pub cancelled: usize,
    /// Times a run was paused.
    pub paused: usize,
    /// Questions of runs.
    pub questions: usize,
    /// Times a run that had failed was tried again.
    pub tried_again: usize,
}

/// Checks everything; the broken promises, one sentence each.
pub fn check(history: &History) -> (Counts, Vec<String>) {
    let mut offences = Vec::new();
    messages(history, &mut offences);
    acks(history, &mut offences);
    people::check(history, &mut offences);
    let mut counts = Counts {
        messages: history.messages.len(),
        accepted: history.messages.iter().filter(|message| message.accepted).count(),
        runs: history.runs.len(),
        replies: history.said.len(),
        changed: history
            .messages
            .iter()
            .filter(|message| message.changed.is_some())
            .count(),
        cancelled: history
            .runs
            .iter()
            .filter(|told| told.phase == "cancelled")
            .count(),
        ..Counts::default()
    };
    for told in &history.runs {
        journal(told, &mut offences);
        reply(history, told, &mut counts, &mut offences);
        let count = |kind: &str| {
            told.journal
                .iter()
                .filter(|event| event.body.kind() == kind)
                .count()
        };
        counts.paused += count("paused");
        counts.questions += count("asked");
        counts.tried_again += people::tries(told).count();
        counts.broken_leases += broken_leases(&told.journal);
    }
    if counts.replies
        > history
            .runs
            .iter()
            .map(|told| told.replies.len() + told.questions.len())
            .sum()
    {
        offences.push("there are more replies in the channels than in the outbox".to_owned());
    }
    if history.panics > 0 {
        offences.push(format!("hosts panicked {} times", history.panics));
    }
    (counts, offences)
}

/// Every message is in exactly one place of one journal if it was answered 2xx, and in at most one if it was not, or if it was
/// deleted, perhaps before it was read.
fn messages(history: &History, offences: &mut Vec<String>) {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for told in &history.runs {
        for event in &told.journal {
            match &event.body {
                EventBody::Opened { work_item, .. }
                | EventBody::Steered {
                    change: Change::Said,
                    work_item,
                    ..
                } => *places.entry(&work_item.text).or_default() += 1,
                EventBody::Answered { decision, .. } => *places.entry(&decision.text).or_default() += 1,
                _ => {}
            }
        }
    }
    for message in &history.messages {
        let text = message.text(Change::Said);
        match places.get(text.as_str()).copied().unwrap_or_default() {
            0 if message.accepted && message.is(Change::Deleted) == Luck::No => {
                offences.push(format!("{text:?} was answered 2xx and is in no journal"));
            }
            0 | 1 => {}
            more => offences.push(format!("{text:?} is in {more} places")),
        }
    }
}

/// What a runner was told is durable stands in the journal as it was sent.
fn acks(history: &History, offences: &mut Vec<String>) {
    for ack in &history.acks {
        let journal = history.runs.iter().find(|told| told.id == ack.run);
        let stands = journal.is_some_and(|told| {
            (ack.seq..).zip(&ack.events).all(|(seq, sent)| {
                told.journal
                    .iter()
                    .any(|event| event.seq == seq && event.epoch == ack.epoch && event.body == *sent)
            })
        });
        if !stands {
            let (run, seq, epoch) = (ack.run, ack.seq, ack.epoch);
            offences.push(format!(
                "an acknowledged append to run {run} (seq {seq}, epoch {epoch}) is not in its journal"
            ));
        }
    }
}

/// A journal is gapless and legal, its epochs never fall, a provider takes its transcript, and its run has ended: well, unless it
/// was cancelled.
fn journal(told: &RunTold, offences: &mut Vec<String>) {
    let journal = &told.journal;
    for what in flaws(journal) {
        offences.push(format!("the journal of run {} has {what}", told.id));
    }
    if let Ok(state) = RunState::fold(journal)
        && state.phase.as_str() != told.phase
    {
        offences.push(format!(
            "the journal of run {} has another end than its run",
            told.id
        ));
    }
    if !matches!(told.phase.as_str(), "completed" | "cancelled") {
        offences.push(format!("run {} is {}", told.id, told.phase));
    }
}

/// A run's reply is in its channel once, or the outbox says that it does not know.
fn reply(history: &History, told: &RunTold, counts: &mut Counts, offences: &mut Vec<String>) {
    let completed = told.journal.iter().find_map(|event| match &event.body {
        EventBody::Completed { reply } => reply.as_deref(),
        _ => None,
    });
    let Some(text) = completed else { return };
    let in_doubt = told.replies.iter().filter(|state| *state == "unknown").count();
    counts.in_doubt += in_doubt;
    let there = history
        .said
        .iter()
        .filter(|said| said.text.contains(text))
        .count();
    match there {
        0 if in_doubt == 0 => offences.push(format!("the reply of run {} did not arrive", told.id)),
        0 | 1 => {}
        more => offences.push(format!("the reply of run {} arrived {more} times", told.id)),
    }
}

/// Leases that were taken over from a runner that had said nothing of it.
fn broken_leases(journal: &[Event]) -> usize {
    let mut phase = Phase::Queued;
    let mut broken = 0;
    for event in journal.iter().skip(1) {
        broken += usize::from(phase == Phase::Running && event.body.kind() == "leased");
        phase = phase.after(&event.body).unwrap_or(phase);
    }
    broken
}

#[cfg(test)]
mod tests;
