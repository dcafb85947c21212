//! The run's state machine: a pure fold of its journal.
//!
//! Two readers use it. The edge asks [`Phase::after`] whether an event may follow; the runner folds the whole journal
//! into a [`RunState`] and asks it what comes [`next`](RunState::next). Whatever the journal, the transcript that the
//! fold yields is one a provider accepts: every tool call has exactly one result, in the message after it, and whenever the
//! model is to be asked, the last word is not its own. What was said to a run at work is in the transcript from then on, at
//! least until the model has answered to it.

mod ahead;
mod blocks;
mod flaw;
mod heard;
mod phase;
mod settled;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use crate::{
    MicroUsd, SignalId,
    effect::EffectClass,
    event::{Change, Event, EventBody},
    question::{Decision, Question},
    transcript::{Answer, Block, Message, Role, StopReason, ToolCall, ToolResult, Usage},
    work::WorkItem,
};

use blocks::{pending, user_text, valid_blocks};
pub use flaw::{Flaw, flaws};
pub use phase::{IllegalEvent, Phase, Waits, fails_again};
use settled::Settled;
use told::{LastWord, told};

/// What a torn tool call is answered with.
pub const INTERRUPTED: &str = "interrupted: the process that ran this tool ended before it could report; \
     check what it did before you try again";

const CUT_OFF: &str = "Your answer reached its length limit and ends there; a tool call that was not complete was not run. \
     Go on where it stopped, in smaller steps.";

/// A provider lets a paused answer go on when it is sent back whole. The transcript keeps no blocks of the provider's own
/// tools, so it can't be; and an answer at the end of a request would be refused.
const PAUSED: &str = "Go on.";

const SUMMARY_HEAD: &str =
    "To make room, all you did so far in this run was replaced by your own summary of it:\n\n";

/// A tool call without a result.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingCall {
    /// The call.
    pub call: ToolCall,
    /// Set once the call began, perhaps on a runner that is gone.
    pub started: Option<EffectClass>,
    /// What a person decided about it since it began.
    pub decision: Option<Decision>,
}

/// What a run needs next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Ask the model.
    CallModel,
    /// Run these tools and journal each result.
    RunTools(Vec<PendingCall>),
    /// Make room: summarise, journal `compacted`.
    Compact,
    /// The model is done; this is what it said last.
    Complete(String),
    /// The model declines; this is what it said.
    Refused(String),
    /// Nothing: the run is over or asleep.
    Rest,
}

/// A run as its journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// What it is about.
    pub work_item: WorkItem,
    /// Where it stands.
    pub phase: Phase,
    /// The seq the next event will have.
    pub next_seq: u64,
    /// Model answers so far.
    pub turns: u32,
    /// Money so far.
    pub cost: MicroUsd,
    /// Tokens so far.
    pub usage: Usage,
    /// Tokens the model had before it in its last answer, plus what it wrote; 0 before the first and after a compaction.
    pub window: u64,
    /// Failed model calls since the last answer.
    pub model_failures: u32,
    /// How often it was put to sleep since the last answer or tool result.
    pub parks: u32,
    /// Leases that ended without a word since the run last got further.
    pub crashes: u32,
    /// What it asked and nobody has decided yet.
    pub question: Option<Question>,
    /// The run's own sprite, from the moment it is to be created; none where it works in its agent's.
    pub own_sprite: Option<String>,
    /// The open exec session per purpose: `(sprite, session)`.
    pub sessions: BTreeMap<String, (String, String)>,
    settled: Settled,
    open: Vec<(PendingCall, Option<ToolResult>)>,
    /// What was said since the model's last answer: it stands after all results, and no summary swallows it.
    fresh: Vec<Arc<Message>>,
    heard: BTreeSet<SignalId>,
    last_stop: Option<(StopReason, String)>,
}

/// The journal can't be folded: it does not begin with `opened`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a journal begins with an `opened` event, this one does not")]
pub struct NotAJournal;

impl RunState {
    /// Folds a journal from its first event on.
    ///
    /// # Errors
    /// When the first event is not `opened`.
    pub fn fold<'a>(journal: impl IntoIterator<Item = &'a Event>) -> Result<Self, NotAJournal> {
        let mut events = journal.into_iter();
        let Some(Event {
            seq,
            body: EventBody::Opened { work_item, .. },
            ..
        }) = events.next()
        else {
            return Err(NotAJournal);
        };
        let mut state = Self {
            work_item: (**work_item).clone(),
            phase: Phase::Queued,
            next_seq: seq + 1,
            turns: 0,
            cost: MicroUsd::default(),
            usage: Usage::default(),
            window: 0,
            model_failures: 0,
            parks: 0,
            crashes: 0,
            question: None,
            own_sprite: None,
            sessions: BTreeMap::new(),
            settled: Settled::default(),
            open: Vec::new(),
            fresh: Vec::new(),
            heard: BTreeSet::new(),
            last_stop: None,
        };
        for event in events {
            state.apply(&event.body);
        }
        Ok(state)
    }

    /// Takes one more event. An event that can't follow is counted and otherwise ignored: the edge never stores one.
    pub fn apply(&mut self, event: &EventBody) {
        self.next_seq += 1;
        let Ok(phase) = self.phase.after(event) else {
            return;
        };
        if event.is_progress() {
            self.crashes = 0;
        } else if self.phase == Phase::Running && matches!(event, EventBody::Leased { .. }) {
            self.crashes += 1;
        }
        if self.phase == Phase::Failed {
            // Whoever lets it go on has mended what was wrong: it is tried as often as before.
            self.model_failures = 0;
            self.parks = 0;
        }
        self.phase = phase;
        self.cost = self.cost + event.cost();
        self.usage = self.usage + event.usage();
        match event {
            EventBody::ModelAnswered(answer) => self.answered(answer),
            EventBody::ModelFailed { .. } => self.model_failures += 1,
            EventBody::ToolStarted { call, class } => {
                if let Some((pending, _)) = self.open.iter_mut().find(|(pending, _)| pending.call.id == *call)
                {
                    pending.started = Some(*class);
                    pending.decision = None;
                }
            }
            EventBody::Parked { .. } => self.parks += 1,
            EventBody::ToolFinished { result, .. } => {
                self.parks = 0;
                if let Some((_, slot)) = self
                    .open
                    .iter_mut()
                    .find(|(pending, _)| pending.call.id == result.call)
                {
                    slot.get_or_insert_with(|| result.clone());
                }
                if self.open.iter().all(|(_, result)| result.is_some()) {
                    self.close_calls();
                }
            }
            EventBody::Steered {
                signal,
                change,
                work_item,
            } => self.steered(*signal, *change, work_item),
            EventBody::Asked { question, .. } => self.question = Some(question.clone()),
            EventBody::Answered { signal, decision } => self.decided(*signal, decision),
            EventBody::SpriteClaimed { sprite } => self.own_sprite = Some(sprite.clone()),
            EventBody::SessionOpened {
                purpose,
                sprite,
                session,
            } => {
                self.sessions
                    .insert(purpose.clone(), (sprite.clone(), session.clone()));
            }
            EventBody::Compacted { summary, .. } => {
                self.open.clear();
                self.last_stop = None;
                self.window = 0;
                self.settled = Settled::default();
                self.settle(user_text(&format!("{SUMMARY_HEAD}{summary}")));
            }
            _ => {}
        }
    }

    /// What was said after the opening message, in order: begins with the model's first answer, or with a summary in
    /// the user's role. Consecutive messages may have the same role.
    pub fn transcript(&self) -> Vec<Arc<Message>> {
        let settled = self.settled.messages().iter().cloned();
        let results = self.results_message().map(Arc::new);
        settled.chain(results).chain(self.fresh.iter().cloned()).collect()
    }

    /// How many messages of the [`transcript`](Self::transcript), from its first on, stay as they are until a summary replaces
    /// them, and what those take, by [`size::of_message`](crate::size::of_message). Known without looking at them.
    pub fn settled(&self) -> (usize, usize) {
        (self.settled.messages().len(), self.settled.bytes())
    }

    /// Whether the run has taken this signal in.
    pub fn has_heard(&self, signal: SignalId) -> bool {
        self.heard.contains(&signal)
    }

    /// What the run needs next.
    pub fn next(&self) -> Next {
        if self.phase != Phase::Running {
            return Next::Rest;
        }
        let pending: Vec<PendingCall> = self
            .open
            .iter()
            .filter(|(_, result)| result.is_none())
            .map(|(call, _)| call.clone())
            .collect();
        if !pending.is_empty() {
            return Next::RunTools(pending);
        }
        match &self.last_stop {
            Some((StopReason::EndTurn | StopReason::StopSequence, text)) => Next::Complete(text.clone()),
            Some((StopReason::Refusal, text)) => Next::Refused(text.clone()),
            Some((StopReason::ContextExceeded, _)) => Next::Compact,
            Some((StopReason::ToolUse | StopReason::PauseTurn | StopReason::MaxTokens, _)) | None => {
                Next::CallModel
            }
        }
    }

    fn steered(&mut self, signal: SignalId, change: Change, item: &WorkItem) {
        if !self.heard.insert(signal) {
            return;
        }
        let is_opening = item.message().is_some() && item.message() == self.work_item.message();
        if change == Change::Edited && self.turns == 0 && is_opening {
            // The model has not read the old text, and need not.
            self.work_item.text.clone_from(&item.text);
            return;
        }
        let has_ended = matches!(
            self.last_stop,
            Some((
                StopReason::EndTurn | StopReason::StopSequence | StopReason::Refusal,
                _
            ))
        );
        let last = match has_ended && self.fresh.is_empty() {
            true => LastWord::Unposted,
            false => LastWord::None,
        };
        self.fresh.push(told(change, item, last));
        if has_ended {
            self.last_stop = None;
        }
    }

    fn decided(&mut self, signal: SignalId, decision: &Decision) {
        if !self.heard.insert(signal) {
            return;
        }
        let Some(question) = self.question.take() else {
            return;
        };
        let mut decision = decision.clone();
        decision.choice = decision.choice.filter(|choice| question.options.contains(choice));
        let asked = self
            .open
            .iter_mut()
            .find(|(pending, _)| pending.call.id == question.call);
        if let Some((pending, _)) = asked {
            pending.decision = Some(decision);
        }
    }

    fn answered(&mut self, answer: &Answer) {
        self.close_calls();
        for said in mem::take(&mut self.fresh) {
            self.settled.push(said);
        }
        self.turns += 1;
        self.model_failures = 0;
        self.parks = 0;
        self.window = answer.usage.context() + answer.usage.output;
        let blocks = valid_blocks(answer, &self.settled);
        self.open = blocks.iter().filter_map(pending).collect();
        if !blocks.is_empty() {
            let role = Role::Assistant;
            self.settle(Message { role, blocks });
        }
        let stop = match self.open.is_empty() {
            true => stop_without_calls(answer),
            false => StopReason::ToolUse,
        };
        match stop {
            StopReason::MaxTokens => self.settle(user_text(CUT_OFF)),
            StopReason::PauseTurn => self.settle(user_text(PAUSED)),
            _ => {}
        }
        self.last_stop = Some((stop, answer.text()));
    }

    /// Answers whatever is open, torn calls with [`INTERRUPTED`], and moves the results into the transcript.
    fn close_calls(&mut self) {
        if let Some(results) = self.results_message() {
            self.settle(results);
        }
        self.open.clear();
    }

    fn settle(&mut self, message: Message) {
        self.settled.push(Arc::new(message));
    }

    fn results_message(&self) -> Option<Message> {
        if self.open.is_empty() {
            return None;
        }
        let blocks = self.open.iter().map(|(pending, result)| {
            Block::ToolResult(result.clone().unwrap_or_else(|| ToolResult {
                call: pending.call.id.clone(),
                text: INTERRUPTED.to_owned(),
                is_error: true,
            }))
        });
        Some(Message {
            role: Role::User,
            blocks: blocks.collect(),
        })
    }
}

/// Why a model stopped that asks for no tool.
fn stop_without_calls(answer: &Answer) -> StopReason {
    match answer.stop {
        // It waits for results of calls that it never made: whatever it said is all there will be.
        StopReason::ToolUse => StopReason::EndTurn,
        stop => stop,
    }
}
