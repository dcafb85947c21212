//! Starting a command inside: pipes or a terminal, a process session of its own, nothing else inherited.
//!
//! Invariant: a command leads a process session, so that it and its children can be signalled and killed as one. Our ends of
//! its streams are handed to the host; the init keeps only the terminal's, to know who is in its foreground.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::{Command, Stdio},
};

use process_wrap::std::{CommandWrap, ProcessSession};
use pty_process::Size;
use rustix::{pipe::fcntl_setpipe_size, process::Pid};

use super::wire::Start;

/// Larger pipes mean fewer wake-ups per megabyte; the kernel may refuse, then it stays at its default.
const PIPE_BYTES: usize = 1 << 20;

/// A command that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) leader: Pid,
    /// For the host: stdin if asked for, stdout and stderr; or the terminal.
    pub(super) streams: Vec<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
}

/// Starts it.
pub(super) fn start(order: &Start) -> io::Result<Started> {
    match order.tty {
        Some((rows, cols)) => terminal(order, Size::new(rows, cols)),
        None => pipes(order),
    }
}

fn pipes(order: &Start) -> io::Result<Started> {
    let (name, arguments) = order.arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(&order.program);
    std::os::unix::process::CommandExt::arg0(&mut command, name);
    command
        .args(arguments)
        .current_dir(&order.dir)
        .env_clear()
        .envs(order.env.iter().map(|(key, value)| (key, value)))
        .stdin(if order.stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = CommandWrap::from(command).wrap(ProcessSession).spawn()?;
    let leader = leader(child.id())?;
    let stdin = child.stdin().take().map(OwnedFd::from);
    let stdout = child.stdout().take().map(OwnedFd::from);
    let stderr = child.stderr().take().map(OwnedFd::from);
    if let Some(stdout) = &stdout {
        // A smaller pipe is slower, not wrong.
        let _ = fcntl_setpipe_size(stdout.as_fd(), PIPE_BYTES);
    }
    Ok(Started {
        leader,
        streams: [stdin, stdout, stderr].into_iter().flatten().collect(),
        terminal: None,
    })
}

fn terminal(order: &Start, size: Size) -> io::Result<Started> {
    let (ours, theirs) = pty_process::blocking::open().map_err(into_io)?;
    ours.resize(size).map_err(into_io)?;
    let child = pty_process::blocking::Command::new(&order.program)
        .args(order.arguments.iter().skip(1))
        .current_dir(&order.dir)
        .env_clear()
        .envs(order.env.iter().map(|(key, value)| (key, value)))
        .spawn(theirs)
        .map_err(into_io)?;
    Ok(Started {
        leader: leader(child.id())?,
        streams: vec![ours.as_fd().try_clone_to_owned()?],
        terminal: Some(ours.as_fd().try_clone_to_owned()?),
    })
}

fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn leader(id: u32) -> io::Result<Pid> {
    i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the command has no process id"))
}
