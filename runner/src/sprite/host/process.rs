//! Starting a command: pipes or a terminal, its own process session, a clean environment.
//!
//! Invariant: a command never has the host's terminal, environment or open files. It leads a process session, so that it and
//! its children can be signalled and killed as one.

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessSession};
use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use rustix::{
    pipe::fcntl_setpipe_size,
    process::{Pid, Signal, kill_process_group},
    termios::{Winsize, tcgetpgrp, tcsetwinsize},
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// Larger pipes mean fewer wake-ups per megabyte; the kernel may refuse, then it stays at its default.
const PIPE_BYTES: usize = 1 << 20;

/// What to start.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) program: String,
    /// The argument list, the program's own name first.
    pub(super) arguments: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    /// Whether someone will write to it; a terminal is always open.
    pub(super) stdin: bool,
    /// Rows and columns of its terminal; `None` for pipes.
    pub(super) tty: Option<(u16, u16)>,
}

/// A command that was started, taken apart.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) leader: Pid,
    pub(super) waiter: Waiter,
    pub(super) io: Io,
    pub(super) terminal: Option<Terminal>,
}

/// Its ends of pipes or terminal.
#[derive(Debug)]
pub(super) enum Io {
    Pipes {
        stdin: Option<ChildStdin>,
        stdout: ChildStdout,
        stderr: ChildStderr,
    },
    Terminal {
        read: OwnedReadPty,
        write: OwnedWritePty,
    },
}

/// The terminal of a command, to resize it and to see who is in its foreground.
#[derive(Debug)]
pub(super) struct Terminal(OwnedFd);

impl Terminal {
    pub(super) fn resize(&self, rows: u16, cols: u16) -> io::Result<()> {
        Ok(tcsetwinsize(
            &self.0,
            Winsize {
                ws_row: rows,
                ws_col: cols,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )?)
    }
}

/// Waits for the command itself, not for what it left behind.
#[derive(Debug)]
pub(super) enum Waiter {
    Pipes(Box<dyn ChildWrapper>),
    Terminal(Child),
}

impl Waiter {
    /// Its exit code, or 128 + the signal that ended it.
    pub(super) async fn wait(mut self) -> i32 {
        let status = match &mut self {
            Self::Pipes(child) => child.wait().await,
            Self::Terminal(child) => child.wait().await,
        };
        status.map_or(255, exit_code)
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}

impl Command {
    /// Starts it. Blocks for as long as a fork takes; must run inside a tokio runtime.
    pub(super) fn start(self) -> io::Result<Started> {
        match self.tty {
            Some((rows, cols)) => self.start_terminal(rows, cols),
            None => self.start_pipes(),
        }
    }

    fn start_pipes(self) -> io::Result<Started> {
        let mut command = tokio::process::Command::new(&self.program);
        let (name, arguments) = self.arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        command
            .arg0(name)
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .envs(&self.env);
        command.stdin(if self.stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // The wrapper makes the session; the child inside it is what waits for the command alone.
        let mut child = CommandWrap::from(command)
            .wrap(ProcessSession)
            .spawn()?
            .into_inner();
        let gone = || io::Error::other("the command has no pipes");
        let leader = child.id().and_then(pid).ok_or_else(gone)?;
        let stdin = child.stdin().take();
        let stdout = child.stdout().take().ok_or_else(gone)?;
        let stderr = child.stderr().take().ok_or_else(gone)?;
        if let Err(error) = fcntl_setpipe_size(stdout.as_fd(), PIPE_BYTES) {
            tracing::debug!(%error, "the pipe keeps its default size");
        }
        Ok(Started {
            leader,
            waiter: Waiter::Pipes(child),
            io: Io::Pipes {
                stdin,
                stdout,
                stderr,
            },
            terminal: None,
        })
    }

    fn start_terminal(self, rows: u16, cols: u16) -> io::Result<Started> {
        let (terminal, other_end) = pty_process::open().map_err(io::Error::other)?;
        terminal.resize(Size::new(rows, cols)).map_err(io::Error::other)?;
        let control = Terminal(terminal.as_fd().try_clone_to_owned()?);
        let command = pty_process::Command::new(&self.program)
            .args(self.arguments.iter().skip(1))
            .current_dir(&self.dir)
            .env_clear()
            .envs(&self.env);
        let child = command.spawn(other_end).map_err(|error| match error {
            pty_process::Error::Io(error) => error,
            other => io::Error::other(other),
        })?;
        let leader = child
            .id()
            .and_then(pid)
            .ok_or_else(|| io::Error::other("the command is gone"))?;
        let (read, write) = terminal.into_split();
        Ok(Started {
            leader,
            waiter: Waiter::Terminal(child),
            io: Io::Terminal { read, write },
            terminal: Some(control),
        })
    }
}

/// Sends a signal to the command's process group; in a terminal, to the group in its foreground.
pub(super) fn signal(
    leader: Pid,
    terminal: Option<&Terminal>,
    signal: crate::sprite::Signal,
) -> io::Result<()> {
    let group = terminal
        .and_then(|terminal| tcgetpgrp(&terminal.0).ok())
        .unwrap_or(leader);
    let number = match signal {
        crate::sprite::Signal::Hup => Signal::HUP,
        crate::sprite::Signal::Int => Signal::INT,
        crate::sprite::Signal::Quit => Signal::QUIT,
        crate::sprite::Signal::Term => Signal::TERM,
        crate::sprite::Signal::Kill => Signal::KILL,
        crate::sprite::Signal::Usr1 => Signal::USR1,
        crate::sprite::Signal::Usr2 => Signal::USR2,
        crate::sprite::Signal::Stop => Signal::STOP,
        crate::sprite::Signal::Cont => Signal::CONT,
    };
    Ok(kill_process_group(group, number)?)
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}
