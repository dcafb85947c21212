//! The journal: one append-only, gapless list of events per run. It is the truth; everything else is a projection of it.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, MicroUsd, SignalId, UnixMillis,
    effect::EffectClass,
    question::{Decision, Question},
    transcript::{Answer, ToolResult, Usage},
    work::WorkItem,
};

/// One entry of a run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the run's journal: 0, 1, 2, … without gaps.
    pub seq: u64,
    /// The lease it was written under; 0 for what the edge wrote before the first lease.
    pub epoch: u64,
    /// When the edge stored it.
    pub at: UnixMillis,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// The run exists: always event 0, written with the delivery that caused it.
    Opened {
        /// What it is about.
        work_item: Box<WorkItem>,
        /// Who works.
        agent: AgentId,
        /// The version of the agent that the run keeps to its end.
        agent_version: i64,
    },
    /// A runner took the run; the event's epoch is the lease's.
    Leased {
        /// The runner's name.
        runner: String,
    },
    /// The run is about to get a sprite of its own; written before it is created, so that it can be deleted whatever happens.
    SpriteClaimed {
        /// The sprite's name.
        sprite: String,
    },
    /// An exec session was opened in a sprite; written before anything is sent to it, so that another runner can join it.
    SessionOpened {
        /// What it is for, e.g. `bash`.
        purpose: String,
        /// The sprite's name.
        sprite: String,
        /// The sprite's id of the session.
        session: String,
    },
    /// The model answered.
    ModelAnswered(Answer),
    /// A model call failed; the run goes on or not by the events that follow.
    ModelFailed {
        /// Stable code, e.g. `model_rate_limited`.
        code: String,
        /// One sentence.
        message: String,
        /// Milliseconds until the next try, if there is to be one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// Tokens it used all the same, as far as they are known: an answer that broke off is billed.
        #[serde(default, skip_serializing_if = "is_default")]
        usage: Usage,
        /// What they cost.
        #[serde(default, skip_serializing_if = "is_default")]
        cost: MicroUsd,
    },
    /// A tool call is about to begin. Calls without this event never began.
    ToolStarted {
        /// The call's id.
        call: String,
        /// What repeating it would do.
        class: EffectClass,
    },
    /// A tool call ended, or was found torn and is answered in its place.
    ToolFinished {
        /// What the model will read.
        #[serde(flatten)]
        result: ToolResult,
        /// Milliseconds it took.
        took_ms: u64,
    },
    /// All that was said so far is replaced by a summary, because the window was filling.
    Compacted {
        /// The summary.
        summary: String,
        /// Tokens spent on it.
        usage: Usage,
        /// What they cost.
        cost: MicroUsd,
    },
    /// The run sleeps until a moment, on no runner.
    Parked {
        /// When it may be leased again.
        until: UnixMillis,
        /// One sentence.
        reason: String,
    },
    /// What was said, edited or deleted in the conversation while the run was open has reached it, between two turns.
    Steered {
        /// The signal it came by; it is gone in the same append.
        signal: SignalId,
        /// What happened to the message.
        #[serde(default, skip_serializing_if = "is_default")]
        change: Change,
        /// The message, as it is now.
        work_item: Box<WorkItem>,
    },
    /// A person has decided what the run asked.
    Answered {
        /// The signal it came by; it is gone in the same append.
        signal: SignalId,
        /// What they decided.
        #[serde(flatten)]
        decision: Decision,
    },
    /// A person paused the run: it waits to be resumed.
    Paused {
        /// Who.
        by: String,
        /// When it is cancelled if nobody resumes it.
        until: UnixMillis,
    },
    /// The run can't go on without a person's word. The edge posts the question in the same transaction.
    Asked {
        /// The question.
        question: Question,
        /// When it is cancelled if nobody answers.
        until: UnixMillis,
    },
    /// Lease after lease of the run ended without a word and without progress: it is kept from runners until a person has
    /// looked at it.
    Poisoned {
        /// How many leases.
        crashes: u32,
        /// When it is cancelled if nobody resumes it.
        until: UnixMillis,
    },
    /// A waiting run may be leased again, a sleeping one before its time, or one that failed goes on where it stood.
    Resumed {
        /// Who resumed it, or whose answer it is.
        by: String,
    },
    /// The runner gave the run back (it is shutting down).
    Released {
        /// One sentence.
        reason: String,
    },
    /// The work is done. The edge queues the reply in the same transaction.
    Completed {
        /// What to say in the conversation; nothing where there is nothing to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<String>,
    },
    /// The run can't go on.
    Failed {
        /// Stable code, e.g. `turn_limit`.
        code: String,
        /// One sentence: what happened and what to do.
        message: String,
    },
    /// A person stopped the run, or nobody came in time.
    Cancelled {
        /// Who.
        by: String,
        /// One sentence, where it was not simply asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was said.
    #[default]
    Said,
    /// It reads otherwise now.
    Edited,
    /// It is gone from the channel.
    Deleted,
}

impl EventBody {
    /// The event's `type` on the wire and in the database.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Leased { .. } => "leased",
            Self::SpriteClaimed { .. } => "sprite_claimed",
            Self::SessionOpened { .. } => "session_opened",
            Self::ModelAnswered(_) => "model_answered",
            Self::ModelFailed { .. } => "model_failed",
            Self::ToolStarted { .. } => "tool_started",
            Self::ToolFinished { .. } => "tool_finished",
            Self::Compacted { .. } => "compacted",
            Self::Parked { .. } => "parked",
            Self::Steered { .. } => "steered",
            Self::Answered { .. } => "answered",
            Self::Paused { .. } => "paused",
            Self::Asked { .. } => "asked",
            Self::Poisoned { .. } => "poisoned",
            Self::Resumed { .. } => "resumed",
            Self::Released { .. } => "released",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The signal it takes in, if it is one that does.
    pub fn signal(&self) -> Option<SignalId> {
        match self {
            Self::Steered { signal, .. } | Self::Answered { signal, .. } => Some(*signal),
            _ => None,
        }
    }

    /// Whether the run got further by it: something is known that need not be found out again.
    pub fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::ModelAnswered(_)
                | Self::ToolFinished { .. }
                | Self::Compacted { .. }
                | Self::Answered { .. }
                | Self::Resumed { .. }
        )
    }

    /// What it adds to the run's bill.
    pub fn cost(&self) -> MicroUsd {
        match self {
            Self::ModelAnswered(answer) => answer.cost,
            Self::Compacted { cost, .. } | Self::ModelFailed { cost, .. } => *cost,
            _ => MicroUsd::default(),
        }
    }

    /// The tokens it adds to the run's meter.
    pub fn usage(&self) -> Usage {
        match self {
            Self::ModelAnswered(answer) => answer.usage,
            Self::Compacted { usage, .. } | Self::ModelFailed { usage, .. } => *usage,
            _ => Usage::default(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
