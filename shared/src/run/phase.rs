//! Where a run stands, and which events may follow from there.
//!
//! Invariant: a journal holds no event that [`Phase::after`] refuses. `parked` waits for a moment, `waiting` for a person: who
//! waits for a person is leased to nobody before a `resumed`. What has ended stays so, but that a person may let a failed run
//! go on: by the same `resumed`.

use crate::event::EventBody;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits for a runner.
    Queued,
    /// A runner drives it.
    Running,
    /// Sleeps until a moment.
    Parked,
    /// Waits for a person: see [`Waits`].
    Waiting,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Stopped by a person, or because no person came.
    Cancelled,
}

/// What a waiting run wants of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Waits {
    /// To be resumed by whoever has a say: somebody paused it.
    Paused,
    /// An answer to its question.
    Asked,
    /// To be looked at: it ended its runner's lease again and again.
    Poisoned,
}

/// An event that can't follow from where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {} run can't take the event {event:?}", from.as_str())]
pub struct IllegalEvent {
    /// Where the run stands.
    pub from: Phase,
    /// The event's kind.
    pub event: &'static str,
}

/// Whether a run that failed by this code would fail by it again however often it is tried: what led there is in its journal,
/// and stays. It has had what its agent's limits give one run, or the model has declined.
pub fn fails_again(code: &str) -> bool {
    matches!(code, "turn_limit" | "cost_limit" | "model_refused")
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Parked,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Its name in the database, the API and the pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The phase of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    /// It has ended: no event follows, but for a `resumed` where it failed.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The phase after an event.
    ///
    /// # Errors
    /// When the event can't follow; a run's journal never holds such an event.
    pub fn after(self, event: &EventBody) -> Result<Self, IllegalEvent> {
        use EventBody as E;
        let next = match (self, event) {
            (Self::Queued | Self::Running | Self::Parked, E::Leased { .. }) => Some(Self::Running),
            (Self::Queued | Self::Running | Self::Parked | Self::Waiting, E::Cancelled { .. }) => {
                Some(Self::Cancelled)
            }
            (Self::Queued | Self::Running | Self::Parked, E::Paused { .. }) => Some(Self::Waiting),
            (Self::Running, E::Asked { .. } | E::Poisoned { .. }) => Some(Self::Waiting),
            (Self::Waiting | Self::Parked | Self::Failed, E::Resumed { .. })
            | (Self::Running, E::Released { .. }) => Some(Self::Queued),
            (Self::Running, E::Completed { .. }) => Some(Self::Completed),
            (Self::Running, E::Failed { .. }) => Some(Self::Failed),
            (Self::Running, E::Parked { .. }) => Some(Self::Parked),
            (
                Self::Running,
                E::SpriteClaimed { .. }
                | E::SessionOpened { .. }
                | E::ModelAnswered(_)
                | E::ModelFailed { .. }
                | E::ToolStarted { .. }
                | E::ToolFinished { .. }
                | E::Compacted { .. }
                | E::Steered { .. }
                | E::Answered { .. },
            ) => Some(Self::Running),
            _ => None,
        };
        next.ok_or(IllegalEvent {
            from: self,
            event: event.kind(),
        })
    }
}

impl Waits {
    /// Its name in the database, the API and the pages: that of the event it began with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Asked => "asked",
            Self::Poisoned => "poisoned",
        }
    }

    /// What of that name a run waits for.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Paused, Self::Asked, Self::Poisoned]
            .into_iter()
            .find(|waits| waits.as_str() == name)
    }

    /// What a run waits for after an event that makes it wait.
    pub fn after(event: &EventBody) -> Option<Self> {
        match event {
            EventBody::Paused { .. } => Some(Self::Paused),
            EventBody::Asked { .. } => Some(Self::Asked),
            EventBody::Poisoned { .. } => Some(Self::Poisoned),
            _ => None,
        }
    }
}
