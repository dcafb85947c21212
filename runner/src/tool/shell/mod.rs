//! The shell of a run: one bash in the sprite whose working directory and environment last from call to call.
//!
//! Invariant: a command is sent at most once for its key, whoever sends it and however often: the shell itself looks whether
//! the key's log file is there already. The session is journaled before the first byte is sent to it.

mod script;
mod session;

pub(super) use script::Job;
pub(super) use session::{Shell, ShellError, Waited};

use super::ToolContext;

/// The run's shell, open or not.
///
/// The session stays named while its shell is taken out, so that a call that is dropped half-way leaves a trace to join.
#[derive(Debug, Default)]
pub(super) struct ShellSlot {
    shell: Option<Shell>,
    session: Option<String>,
}

impl ShellSlot {
    /// A session an earlier runner has opened.
    pub(super) fn resume(&mut self, session: &str) {
        self.session.get_or_insert_with(|| session.to_owned());
    }

    /// Takes out the shell: the open one, the one to join, or a new one.
    pub(super) async fn take(&mut self, context: &ToolContext) -> Result<Shell, ShellError> {
        if let Some(shell) = self.shell.take() {
            return Ok(shell);
        }
        if let Some(session) = &self.session
            && let Some(shell) = Shell::join(context, session).await?
        {
            return Ok(shell);
        }
        let shell = Shell::open(context).await?;
        self.session = Some(shell.session_id().to_owned());
        Ok(shell)
    }

    /// Puts the shell back for the next call.
    pub(super) fn put(&mut self, shell: Shell) {
        self.shell = Some(shell);
    }

    /// The shell is no more; the next call gets a new one.
    pub(super) fn forget(&mut self) {
        (self.shell, self.session) = (None, None);
    }

    /// The session there is, to end it.
    pub(super) fn take_session(&mut self) -> Option<String> {
        self.shell = None;
        self.session.take()
    }
}
