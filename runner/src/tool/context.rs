//! What a tool call may reach: the run's sprite, the journal for sessions, and what the run's tools remember.
//!
//! Invariant: a session in a sprite is journaled before anything is sent to it, so that whoever drives the run next can
//! find it; if the journal refuses, nothing is sent.

use std::sync::Arc;

use async_trait::async_trait;

use crate::sprite::Sprite;

/// Journaling a session failed: the run is no longer this runner's, or the edge is away. Stop driving the run.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the exec session could not be journaled: {0}")]
pub struct SessionLogError(pub String);

impl SessionLogError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        "session_not_journaled"
    }
}

/// Where tools report the exec sessions they open; the run's journal implements it.
#[async_trait]
pub trait SessionLog: Send + Sync {
    /// Records, durably, that `session` was opened in `sprite` for `purpose` (the tool's name, for example `bash`).
    async fn session_opened(&self, purpose: &str, sprite: &str, session: &str)
    -> Result<(), SessionLogError>;
}

/// Records nothing: for tools used outside a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSessionLog;

#[async_trait]
impl SessionLog for NoSessionLog {
    async fn session_opened(&self, _: &str, _: &str, _: &str) -> Result<(), SessionLogError> {
        Ok(())
    }
}

/// What a tool call may reach. One per run; [`ToolContext::for_call`] makes the cheap view for one call.
#[derive(Clone)]
pub struct ToolContext {
    run: Arc<RunState>,
    call: Arc<str>,
}

struct RunState {
    run: String,
    sprite: Sprite,
    log: Arc<dyn SessionLog>,
}

impl ToolContext {
    /// The context of run `run`, whose tools work in `sprite` and report their sessions to `log`.
    pub fn new(run: impl Into<String>, sprite: Sprite, log: Arc<dyn SessionLog>) -> Self {
        let state = RunState {
            run: run.into(),
            sprite,
            log,
        };
        Self {
            run: Arc::new(state),
            call: Arc::from(""),
        }
    }

    /// The same context for one call. `key` names the call uniquely within the run, and is the same when a later runner
    /// repeats the call after a crash: tools recognise by it what they have begun already.
    #[must_use]
    pub fn for_call(&self, key: &str) -> Self {
        Self {
            run: Arc::clone(&self.run),
            call: Arc::from(key),
        }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run.run
    }

    /// The call's key; empty in the run's own context.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// The run's sprite.
    pub fn sprite(&self) -> &Sprite {
        &self.run.sprite
    }

    /// Where to report sessions.
    pub fn log(&self) -> &dyn SessionLog {
        self.run.log.as_ref()
    }
}
