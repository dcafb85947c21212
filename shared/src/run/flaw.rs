//! What is wrong with a journal: one judgement for all who check what happened, after the fact.
//!
//! Invariant: it trusts nothing but the events themselves; that the edge refused to write such a journal is what it checks.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Phase, RunState};
use crate::{
    event::{Event, EventBody},
    transcript::{Block, Message, Role},
};

/// Something that no journal may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Its seqs are not 0, 1, 2, ….
    Gap,
    /// An epoch is lower than one before it.
    EpochFalls,
    /// An event can't follow those before it.
    Illegal,
    /// A tool call of one answer has two results.
    TwoResults,
    /// It does not begin with `opened`, or can't be folded for another reason.
    NoBeginning,
    /// A provider would refuse the transcript it yields: a call without its result.
    Transcript,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "a gap",
            Self::EpochFalls => "an epoch that goes down",
            Self::Illegal => "an event that can't follow",
            Self::TwoResults => "a tool call with two results",
            Self::NoBeginning => "no beginning",
            Self::Transcript => "a transcript no provider takes",
        })
    }
}

/// The flaws of a journal, each kind once.
pub fn flaws(journal: &[Event]) -> BTreeSet<Flaw> {
    let mut flaws = BTreeSet::new();
    if (0..).zip(journal).any(|(seq, event): (u64, _)| event.seq != seq) {
        flaws.insert(Flaw::Gap);
    }
    if journal.windows(2).any(|pair| pair[0].epoch > pair[1].epoch) {
        flaws.insert(Flaw::EpochFalls);
    }
    let mut phase = Phase::Queued;
    // The first is `opened`, which makes it queued; whether it is, the fold tells.
    for event in journal.iter().skip(1) {
        match phase.after(&event.body) {
            Ok(next) => phase = next,
            Err(_) => drop(flaws.insert(Flaw::Illegal)),
        }
    }
    if !each_once(journal) {
        flaws.insert(Flaw::TwoResults);
    }
    match RunState::fold(journal) {
        Ok(state) if is_valid(&state.transcript()) => {}
        Ok(_) => drop(flaws.insert(Flaw::Transcript)),
        Err(_) => drop(flaws.insert(Flaw::NoBeginning)),
    }
    flaws
}

/// Whether every tool call has at most one result in the journal.
fn each_once(journal: &[Event]) -> bool {
    let mut seen = BTreeSet::new();
    let mut answer = 0;
    journal.iter().all(|event| match &event.body {
        EventBody::ModelAnswered(_) => {
            answer += 1;
            true
        }
        EventBody::ToolFinished { result, .. } => seen.insert((answer, result.call.as_str())),
        _ => true,
    })
}

/// Whether a provider takes it: the results of all calls of a message stand in the next, and no call is left open.
fn is_valid(transcript: &[Arc<Message>]) -> bool {
    let calls = |message: &Message| -> BTreeSet<String> {
        let ids = message.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call.id.clone()),
            _ => None,
        });
        ids.collect()
    };
    let answered = |message: &Message| -> BTreeSet<String> {
        let ids = message.blocks.iter().filter_map(|block| match block {
            Block::ToolResult(result) => Some(result.call.clone()),
            _ => None,
        });
        ids.collect()
    };
    let paired = transcript.windows(2).all(|pair| match pair[0].role {
        Role::Assistant => calls(&pair[0]) == answered(&pair[1]),
        Role::User => true,
    });
    let settled = transcript.last().is_none_or(|last| calls(last).is_empty());
    paired && settled
}
