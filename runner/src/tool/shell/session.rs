//! The exec session under the run's shell: opened and journaled, joined again after a cut, ended when it must.
//!
//! Invariant: nothing is sent to a session that is not journaled. What was sent may be sent again after a cut, because the
//! shell runs each job once (see [`super::script`]); and what the session said before the cut is not taken for an answer to
//! what is said after it, because every question carries a marker of its own.

use std::time::Duration;

use roost_shared::fail_point::{self, FailPoint};
use tokio::time::{Instant, sleep, timeout_at};

use super::script::{self, Command, Job, UNKNOWN};
use crate::{
    random::hex_id,
    sprite::{Disconnected, Exec, ExecFrame, ExecRequest, Signal, SpriteError, retry::Pauses},
    tool::{SessionLogError, ToolContext, bash::BASH},
};

/// How long a shell waits for the run's next runner.
const ALONE: Duration = Duration::from_secs(3_600);
/// What the shell has said and nobody expects is kept this long, to find a marker that arrives in pieces.
const HEARD_BYTES: usize = 4_096;
/// A longer command is put into a file first: a pipe takes this much at once, so that a cut can't leave the shell with half
/// a command.
const BREATH_BYTES: usize = 32 << 10;
/// Pauses before a cut session is joined again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a host may be away before the shell is given up.
const AWAY: Duration = Duration::from_secs(60);
/// How often a new session is asked for.
const OPENINGS: u32 = 4;

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
pub(in crate::tool) enum ShellError {
    #[error(transparent)]
    Sprite(#[from] SpriteError),
    #[error(transparent)]
    Log(#[from] SessionLogError),
    #[error("the shell did not come up")]
    NoShell,
}

/// What came of waiting for a job.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tool) enum Waited {
    /// It ended with this exit code; the shell is ready for the next.
    Done(i32),
    /// It had begun, but no shell knows how it ended.
    Unknown,
    /// The shell itself ended with this exit code.
    ShellEnded(i32),
    /// The session is gone with its host, and the shell with it.
    ShellGone,
    /// The time is over; it still runs.
    Late,
}

/// An open shell.
#[derive(Debug)]
pub(in crate::tool) struct Shell {
    exec: Exec,
    heard: String,
}

impl Shell {
    /// Opens a new shell; what it is told first puts it into the state the run's last one was in.
    pub(in crate::tool) async fn open(context: &ToolContext) -> Result<Self, ShellError> {
        let shell = Self {
            exec: Self::start(context).await?,
            heard: String::new(),
        };
        fail_point::reach(FailPoint::ShellOpened);
        let journaled = context
            .log()
            .session_opened(BASH, context.sprite().name(), shell.session_id())
            .await;
        if let Err(error) = journaled {
            shell.end(context).await;
            return Err(error.into());
        }
        fail_point::reach(FailPoint::ShellJournaled);
        Ok(shell)
    }

    /// An exec is asked for again here although its outcome is not known: a shell does nothing before it is spoken to, and
    /// ends when it never is.
    async fn start(context: &ToolContext) -> Result<Exec, SpriteError> {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, OPENINGS);
        loop {
            let request = ExecRequest::new(script::GATED)
                .stdin()
                .detachable()
                .disconnected(Disconnected::RunFor(ALONE));
            match (context.sprite().exec(request).await, pauses.next()) {
                (Err(SpriteError::Unavailable { .. }), Some(pause)) => sleep(pause).await,
                (outcome, _) => return outcome,
            }
        }
    }

    /// Joins a shell that an earlier runner has opened; `None` when it is gone.
    pub(in crate::tool) async fn join(
        context: &ToolContext,
        session: &str,
    ) -> Result<Option<Self>, SpriteError> {
        match context.sprite().attach(session).await {
            Ok(exec) => Ok(Some(Self {
                exec,
                heard: String::new(),
            })),
            Err(SpriteError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The sprite's id of its session.
    pub(in crate::tool) fn session_id(&self) -> &str {
        self.exec.session_id()
    }

    /// Runs a job, or waits for it if it was begun before, until the deadline. A connection that is cut is joined again for
    /// as long as the session is there; a host that stays away is an error.
    pub(in crate::tool) async fn run(
        &mut self,
        context: &ToolContext,
        job: &Job,
        command: &str,
        deadline: Instant,
    ) -> Result<Waited, SpriteError> {
        let command = if command.len() > BREATH_BYTES {
            let bytes = command.to_owned();
            context.sprite().write(&job.command, bytes, Some(0o600)).await?;
            Command::File(&job.command)
        } else {
            Command::Text(command)
        };
        loop {
            let marker = hex_id();
            let waited = async {
                self.send(&script::run(job, command, &marker)).await?;
                fail_point::reach(FailPoint::CommandSent);
                self.status(&marker, deadline).await
            };
            match waited.await {
                Ok(Heard::Status(status)) if status == UNKNOWN => return Ok(Waited::Unknown),
                Ok(Heard::Status(status)) => return Ok(Waited::Done(status.parse().unwrap_or(255))),
                Ok(Heard::Ended(exit)) => return Ok(Waited::ShellEnded(exit)),
                Ok(Heard::Nothing) => return Ok(Waited::Late),
                Err(SpriteError::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
            if !self.join_again(context).await? {
                return Ok(Waited::ShellGone);
            }
        }
    }

    /// Joins the session after a cut; `false` when it is gone.
    async fn join_again(&mut self, context: &ToolContext) -> Result<bool, SpriteError> {
        let session = self.session_id().to_owned();
        let given_up_at = Instant::now() + AWAY;
        for pause in Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, u32::MAX) {
            sleep(pause).await;
            match Self::join(context, &session).await {
                Ok(Some(shell)) => {
                    *self = shell;
                    return Ok(true);
                }
                Ok(None) => return Ok(false),
                Err(error @ SpriteError::Unavailable { .. }) if Instant::now() < given_up_at => {
                    tracing::debug!(session, %error, "the shell's session can't be joined yet");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Waits on for a job that was late before: only to see whether it ends by itself until the deadline.
    pub(in crate::tool) async fn ends(&mut self, deadline: Instant) -> bool {
        // The marker of a job that ends now is not known here; the shell's own end is what is waited for.
        matches!(
            self.status(&hex_id(), deadline).await,
            Ok(Heard::Ended(_)) | Err(_)
        )
    }

    /// Interrupts what runs in the foreground; a shell that was not waiting for its next command ends with it.
    pub(in crate::tool) async fn interrupt(&self) -> Result<(), SpriteError> {
        self.exec.input().signal(Signal::Int).await
    }

    /// Kills the shell with everything in its session.
    pub(in crate::tool) async fn end(self, context: &ToolContext) {
        match context.sprite().kill(self.session_id(), Signal::Kill).await {
            Ok(_) | Err(SpriteError::Gone { .. }) => {}
            Err(error) => tracing::warn!(session = self.session_id(), %error, "a shell was left behind"),
        }
    }

    async fn send(&self, script: &str) -> Result<(), SpriteError> {
        self.exec.input().write(script.to_owned()).await
    }

    async fn status(&mut self, marker: &str, deadline: Instant) -> Result<Heard, SpriteError> {
        loop {
            if let Some(status) = script::status(&self.heard, marker) {
                let status = status.to_owned();
                self.heard.clear();
                return Ok(Heard::Status(status));
            }
            let frame = match timeout_at(deadline, self.exec.next()).await {
                Ok(frame) => frame,
                Err(_) => return Ok(Heard::Nothing),
            };
            match frame {
                Some(Ok(ExecFrame::Stdout(bytes))) => self.hear(&bytes),
                // The shell's own complaints; a command's go to its log.
                Some(Ok(ExecFrame::Stderr(_))) => {}
                Some(Ok(ExecFrame::Exit(exit))) => return Ok(Heard::Ended(exit)),
                Some(Err(error)) => return Err(error),
                None => return Err(SpriteError::unavailable("the shell's connection has ended")),
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.heard.push_str(&String::from_utf8_lossy(bytes));
        if let Some(excess) = self.heard.len().checked_sub(HEARD_BYTES) {
            let from = (excess..self.heard.len()).find(|at| self.heard.is_char_boundary(*at));
            self.heard.drain(..from.unwrap_or(self.heard.len()));
        }
    }
}

enum Heard {
    Status(String),
    Ended(i32),
    Nothing,
}
