//! What a tool call may reach: the run's sprite, the journal for sessions, and what the run's tools remember.
//!
//! Invariant: a session in a sprite is journaled before anything is sent to it, so that whoever drives the run next can
//! find it; if the journal refuses, nothing is sent.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use super::{
    bash::BASH,
    git::{CredentialSource, GitAccess},
    seen::{Fingerprint, Seen},
    shell::ShellSlot,
};
use crate::sprite::{Signal, Sprite, SpriteError};

/// A run that has ended does not wait longer than this for its shell to go.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

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
    git: Option<GitAccess>,
    seen: Mutex<Seen>,
    shell: Mutex<ShellSlot>,
}

impl ToolContext {
    /// The context of run `run`, whose tools work in `sprite` and report their sessions to `log`.
    pub fn new(run: impl Into<String>, sprite: Sprite, log: Arc<dyn SessionLog>) -> Self {
        Self::of(run.into(), sprite, log, None)
    }

    /// As [`ToolContext::new`], for a run whose git may reach repositories at `origin` (`https://github.com`) with
    /// credentials of `source`.
    pub fn with_git(
        run: impl Into<String>,
        sprite: Sprite,
        log: Arc<dyn SessionLog>,
        origin: impl Into<String>,
        source: Arc<dyn CredentialSource>,
    ) -> Self {
        Self::of(
            run.into(),
            sprite,
            log,
            Some(GitAccess::new(origin.into(), source)),
        )
    }

    fn of(run: String, sprite: Sprite, log: Arc<dyn SessionLog>, git: Option<GitAccess>) -> Self {
        let state = RunState {
            run,
            sprite,
            log,
            git,
            seen: Mutex::default(),
            shell: Mutex::default(),
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

    /// Tells the tools of a session an earlier runner has journaled for this run, so that they join it instead of opening
    /// another. A purpose no tool knows is ignored.
    pub async fn resume_session(&self, purpose: &str, session: &str) {
        if purpose == BASH {
            self.run.shell.lock().await.resume(session);
        }
    }

    /// Ends the run's sessions in the sprite, and what runs in them. For a run that has ended or was cancelled; a run that
    /// goes on elsewhere keeps them: just drop the context then.
    pub async fn close(&self) {
        if let Some(git) = &self.run.git {
            git.close();
        }
        let Some(session) = self.run.shell.lock().await.take_session() else {
            return;
        };
        let killed = timeout(CLOSE_WITHIN, self.run.sprite.kill(&session, Signal::Kill)).await;
        if !matches!(killed, Ok(Ok(_) | Err(SpriteError::Gone { .. }))) {
            tracing::warn!(
                session,
                "the run's shell could not be ended; it ends by itself within an hour"
            );
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

    /// The run's access to its repository, if it has one.
    pub(super) fn git(&self) -> Option<&GitAccess> {
        self.run.git.as_ref()
    }

    /// Text of the sprite as anybody may read it: without the credentials the run was given.
    pub(super) fn clean(&self, text: String) -> String {
        match &self.run.git {
            Some(git) => git.scrub(text),
            None => text,
        }
    }

    /// What the run has seen of its files; hold it while a file must not change by another call.
    pub(super) async fn seen(&self) -> MutexGuard<'_, Seen> {
        self.run.seen.lock().await
    }

    /// The run's shell; one command at a time.
    pub(super) async fn shell(&self) -> MutexGuard<'_, ShellSlot> {
        self.run.shell.lock().await
    }

    /// Directory of the run's own files in the sprite, relative to the home.
    pub(super) fn own_dir(&self) -> String {
        format!("{OWN_DIR}/{}", file_name(&self.run.run))
    }

    /// A file of the call's own in the sprite, relative to the home; `None` for a call without a key.
    pub(super) fn own_file(&self, kind: &str) -> Option<String> {
        (!self.call.is_empty()).then(|| format!("{}/{}.{kind}", self.own_dir(), file_name(&self.call)))
    }
}

/// Where tools keep their own files in a sprite, below the home.
pub(super) const OWN_DIR: &str = ".roost";

/// A file name for any text: the text itself where it can be one, else a hash of it.
fn file_name(text: &str) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=80).contains(&text.len()) && text.bytes().all(fits) {
        return text.to_owned();
    }
    // The dot keeps it apart from all texts that fit.
    format!("h.{}", Fingerprint::of(text.as_bytes()))
}
