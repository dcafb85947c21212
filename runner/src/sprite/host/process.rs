//! A command of a sprite as its host sees it: what to start, its streams, its end.
//!
//! Invariant: commands are started by the sprite's init alone. The host holds its ends of their streams, never their processes.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use rustix::termios::{Winsize, tcsetwinsize};
use tokio::{net::unix::pipe, sync::oneshot};

use super::sandbox::Handle;

/// What to start.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) program: String,
    /// The argument list, the program's own name first.
    pub(super) arguments: Vec<String>,
    /// As commands see it.
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
    pub(super) handle: Handle,
    pub(super) exit: oneshot::Receiver<i32>,
    pub(super) io: Io,
}

/// Our ends of its pipes or terminal.
#[derive(Debug)]
pub(super) enum Io {
    Pipes {
        stdin: Option<pipe::Sender>,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
    },
    /// Not pipes, but read and written as they are.
    Terminal {
        read: pipe::Receiver,
        write: pipe::Sender,
        terminal: Terminal,
    },
}

impl Started {
    /// Takes the streams that came beside the answer.
    pub(super) fn new(
        handle: Handle,
        exit: oneshot::Receiver<i32>,
        streams: Vec<OwnedFd>,
        stdin: bool,
        tty: bool,
    ) -> io::Result<Self> {
        let mut streams = streams.into_iter();
        let mut next = || streams.next().ok_or(io::ErrorKind::InvalidData);
        let io = if tty {
            let master = next()?;
            rustix::io::ioctl_fionbio(&master, true)?;
            Io::Terminal {
                read: pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?,
                write: pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?,
                terminal: Terminal(Arc::new(master)),
            }
        } else {
            Io::Pipes {
                stdin: if stdin {
                    Some(pipe::Sender::from_owned_fd(next()?)?)
                } else {
                    None
                },
                stdout: pipe::Receiver::from_owned_fd(next()?)?,
                stderr: pipe::Receiver::from_owned_fd(next()?)?,
            }
        };
        Ok(Self { handle, exit, io })
    }
}

/// The host's end of a terminal, to resize it.
#[derive(Debug, Clone)]
pub(super) struct Terminal(Arc<OwnedFd>);

impl Terminal {
    pub(super) fn resize(&self, rows: u16, cols: u16) -> io::Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&*self.0, size)?)
    }
}

/// The number of a signal on this system.
pub(super) fn number(signal: crate::sprite::Signal) -> i32 {
    use rustix::process::Signal;

    use crate::sprite::Signal as Named;
    let signal = match signal {
        Named::Hup => Signal::HUP,
        Named::Int => Signal::INT,
        Named::Quit => Signal::QUIT,
        Named::Term => Signal::TERM,
        Named::Kill => Signal::KILL,
        Named::Usr1 => Signal::USR1,
        Named::Usr2 => Signal::USR2,
        Named::Stop => Signal::STOP,
        Named::Cont => Signal::CONT,
    };
    signal.as_raw()
}
