//! The runner's side of the edge API: `/runner/v1/…`, JSON both ways, `Authorization: Bearer <runner token>`.
//!
//! | request | answer | for |
//! |---|---|---|
//! | `POST /runner/v1/poll` [`PollRequest`] | [`PollResponse`] | renew leases, take new ones, hear signals; waits up to `wait_ms` |
//! | `POST /runner/v1/presence` [`PresenceRequest`] | lines, the first a [`PresenceResponse`] | held open while the runner lives |
//! | `POST /runner/v1/polls/{poll}/withdraw` | [`WithdrawResponse`] | give back what a poll leased whose answer was lost |
//! | `POST /runner/v1/runs/{run}/events` [`AppendRequest`] | [`AppendResponse`] | journal; fenced by epoch and expected seq |
//! | `POST /runner/v1/runs/{run}/credentials` [`CredentialRequest`] | [`CredentialResponse`] | let git in the run's sprite reach its repository; fenced by epoch |
//! | `POST /runner/v1/runs/ended` [`EndedRequest`] | [`EndedResponse`] | which runs will need nothing any more |
//! | `POST /runner/v1/tick` | [`TickResponse`] | do what is due: effects, expired leases |
//!
//! Errors are [`crate::problem::ProblemBody`]. A 409 `stale_lease` means: somebody else drives this run now; drop it.
//! In the other direction the edge rings a runner's doorbell: `POST <doorbell>` [`Ring`], with a short-lived JWT.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, PollId, ProcessId, RunId, SignalId, UnixMillis,
    agent::AgentSpec,
    event::{Change, Event, EventBody},
    question::Decision,
    work::{Actor, WorkItem},
};

/// A runner's heartbeat and its request for work, in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollRequest {
    /// The name of this runner process, unique among those that share the token: two processes never use one name.
    pub runner: String,
    /// The poll's own name, by which it can be withdrawn; a new one for every poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollId>,
    /// Where the edge may ring; none for a runner that can't be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doorbell: Option<String>,
    /// How many more runs it can take.
    pub room: u32,
    /// The leases it holds, to be renewed.
    #[serde(default)]
    pub held: Vec<Held>,
    /// The signals it has heard and its runs have yet to answer; they are not told again.
    #[serde(default)]
    pub heard: Vec<SignalId>,
    /// Take only runs of these agents, and only those that work in their agent's own sprite: the sprite host gives no new
    /// ones for now. Any run without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<AgentId>>,
    /// How long the edge may hold the request when there is nothing to tell, in milliseconds; at most 30,000.
    #[serde(default)]
    pub wait_ms: u64,
}

/// A lease a runner holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The run.
    pub run: RunId,
    /// The lease's epoch.
    pub epoch: u64,
}

/// What the edge tells a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PollResponse {
    /// Runs that are this runner's from now on.
    #[serde(default)]
    pub leases: Vec<Lease>,
    /// Runs among `held` that are no longer this runner's: drop them, write nothing more.
    #[serde(default)]
    pub lost: Vec<RunId>,
    /// What the held runs are told from outside, but for what the runner says it has heard.
    #[serde(default)]
    pub signals: Vec<Signal>,
    /// How long a lease lasts without a poll, in milliseconds; poll at a third of it.
    pub lease_ms: u64,
    /// The key that the doorbell's rings are signed with, for a runner that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doorbell_key: Option<String>,
}

/// A runner's sign that it lives: the request is held open, and when its connection closes the runner is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceRequest {
    /// The runner's name, as in its polls.
    pub runner: String,
    /// The process; what an earlier process of that name still held is free at once.
    pub process: ProcessId,
}

/// The first line of what a presence is answered with; empty lines follow it from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceResponse {
    /// Whether the edge sees the connection's end. Where it can't, the answer ends here and leases end by expiry.
    pub watched: bool,
}

/// What a withdrawn poll had leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawResponse {
    /// The runs that wait again, for any runner.
    pub given_back: Vec<RunId>,
}

/// A runner's right to drive a run, and all it needs to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Written with every event of this lease.
    pub epoch: u64,
    /// The agent, in the version the run began with.
    pub agent: AgentSpec,
    /// The name of the agent's sprite.
    pub sprite: String,
    /// Where the repository of the run's conversation lives, e.g. `https://github.com`: git's requests for credentials go
    /// there. None where the work item came from no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_origin: Option<String>,
    /// The journal so far, from event 0 to the `leased` event of this lease.
    pub journal: Vec<Event>,
    /// What was said between the two in this conversation before this run, oldest first.
    #[serde(default)]
    pub history: Vec<Exchange>,
    /// What the run is told from outside.
    #[serde(default)]
    pub signals: Vec<Signal>,
}

/// An earlier run of the same lane, as the next one remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The earlier run.
    pub run: RunId,
    /// Who spoke.
    pub actor: Actor,
    /// What they said.
    pub text: String,
    /// What the agent replied; none where it failed or said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// When they spoke.
    pub at: UnixMillis,
}

/// Something a run is told from outside. It waits until the run has taken it in (`steered`, `answered`) or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its id.
    pub id: SignalId,
    /// The run it is for.
    pub run: RunId,
    /// What it says.
    #[serde(flatten)]
    pub body: SignalBody,
}

/// What a run can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SignalBody {
    /// Stop: end running commands, write `cancelled`.
    Cancel {
        /// Who wants it.
        by: String,
    },
    /// Finish the step, then write `paused`.
    Pause {
        /// Who wants it.
        by: String,
    },
    /// Something was said, edited or deleted in the conversation: write `steered` between two turns.
    Steer {
        /// What happened to the message.
        #[serde(default)]
        change: Change,
        /// The message, as it is now.
        work_item: Box<WorkItem>,
    },
    /// A person answers the run's question: write `answered`.
    Answer {
        /// What they decided.
        #[serde(flatten)]
        decision: Decision,
    },
}

impl SignalBody {
    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cancel { .. } => "cancel",
            Self::Pause { .. } => "pause",
            Self::Steer { .. } => "steer",
            Self::Answer { .. } => "answer",
        }
    }
}

/// Events to append to a run's journal.
///
/// Sending the same request again after a lost answer is safe: if the journal already holds exactly these events at
/// this place, the edge answers as it did the first time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppendRequest {
    /// The lease's epoch.
    pub epoch: u64,
    /// The seq the first of the events will have.
    pub expected_seq: u64,
    /// The events, in order; at least one, at most 256.
    pub events: Vec<EventBody>,
}

/// The events are durable; or, where they would end the run or make it ask while there is something it has not been told
/// yet, nothing was written and it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendResponse {
    /// The seq the next event will have: `expected_seq` where nothing was written.
    pub next_seq: u64,
    /// What the run is told from outside, all of it.
    #[serde(default)]
    pub signals: Vec<Signal>,
}

/// What git in a run's sprite wants to be authorised for, in git's own words (gitcredentials(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// The lease's epoch.
    pub epoch: u64,
    /// `https`.
    pub protocol: String,
    /// `github.com`; with a port where it is not the usual one.
    pub host: String,
    /// `owner/name.git`.
    pub path: String,
}

/// A credential for one repository. It has no `Debug` that prints it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialResponse {
    /// What git sends as the user.
    pub username: String,
    /// The token.
    pub password: String,
    /// When it ends; a static token says nothing of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMillis>,
}

impl std::fmt::Debug for CredentialResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CredentialResponse")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Which of these runs have ended?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRequest {
    /// The runs; at most 500.
    pub runs: Vec<RunId>,
}

/// Those that have ended, well or badly. A run the edge does not know is not among them: it may be another edge's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedResponse {
    /// The runs.
    pub ended: Vec<RunId>,
}

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TickResponse {
    /// Effects that reached their channel.
    pub effects_sent: u32,
    /// Effects that did not, and are due again later or given up.
    pub effects_failed: u32,
    /// When something is next due, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<UnixMillis>,
}

/// The doorbell: a hint that a run waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// The run.
    pub run: RunId,
}

/// What the JWT (HS256) of a ring says: it is for one runner, for a moment. Signed with the poll's `doorbell_key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingClaims {
    /// The runner's name.
    pub aud: String,
    /// Seconds since the epoch until which it is good.
    pub exp: i64,
}
