//! The inner stage's loop: it does what the host asks, and reports commands that end.
//!
//! Invariant: a command is signalled only while it has not been waited for, so a signal never hits a process that got its pid
//! later: signalling and waiting happen in this one thread.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use nix::sys::{
    signal::{SigSet, Signal as NixSignal},
    signalfd::SignalFd,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, set_child_subreaper, wait},
    termios::tcgetpgrp,
};

use super::{
    ports, start,
    wire::{self, MAX_PACKET, Reply, Request},
};
use crate::sprite::host::tree::{self, Stopped};

/// A command that has not been waited for.
#[derive(Debug)]
struct Running {
    leader: Pid,
    terminal: Option<OwnedFd>,
}

struct Init<'a> {
    host: &'a OwnedFd,
    running: HashMap<u64, Running>,
    stopped: Stopped,
}

/// Serves the host until it closes the socket.
pub(super) fn serve(host: &OwnedFd) -> io::Result<ExitCode> {
    // Without a pid namespace orphans would go to the host's init; so they come here.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut children = SigSet::empty();
    children.add(NixSignal::SIGCHLD);
    children.thread_block()?;
    let children = SignalFd::new(&children)?;
    let mut init = Init {
        host,
        running: HashMap::new(),
        stopped: Stopped::default(),
    };
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        let mut ready = [
            PollFd::new(host, PollFlags::IN),
            PollFd::new(&children, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut ready, None))?;
        let [from_host, ended] = ready.map(|fd| !fd.revents().is_empty());
        if ended {
            children.read_signal()?;
            init.reap()?;
        }
        if from_host {
            match wire::receive::<Request>(host, &mut buffer)? {
                Some((request, _)) => init.handle(request)?,
                None => {
                    init.end();
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
}

impl Init<'_> {
    fn handle(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Start(order) => match start::start(&order) {
                Ok(started) => {
                    let pid = started.leader.as_raw_nonzero().get().cast_unsigned();
                    let streams: Vec<_> = started.streams.iter().map(AsFd::as_fd).collect();
                    let running = Running {
                        leader: started.leader,
                        terminal: started.terminal,
                    };
                    self.running.insert(order.id, running);
                    wire::send(self.host, &Reply::Started { id: order.id, pid }, &streams)
                }
                Err(error) => {
                    let errno = errno(&error);
                    self.reply(&Reply::Refused { id: order.id, errno })
                }
            },
            Request::Signal { id, signal } => {
                self.signal(id, signal);
                Ok(())
            }
            Request::Kill { id } => {
                if let Some(running) = self.running.get(&id) {
                    tree::kill_session(running.leader);
                }
                Ok(())
            }
            Request::Freeze => {
                let stopped = tree::stop_descendants(rustix::process::getpid());
                self.stopped.extend(stopped);
                self.reply(&Reply::Frozen)
            }
            Request::Thaw => {
                std::mem::take(&mut self.stopped).go_on();
                Ok(())
            }
            Request::Connect { id, address } => match connecting(address) {
                Ok(socket) => wire::send(self.host, &Reply::Connected { id }, &[socket.as_fd()]),
                Err(error) => {
                    let errno = errno(&error);
                    self.reply(&Reply::NotConnected { id, errno })
                }
            },
            Request::Ports { id } => {
                let ports = ports::listening();
                self.reply(&Reply::Ports { id, ports })
            }
        }
    }

    fn reply(&self, reply: &Reply) -> io::Result<()> {
        wire::send(self.host, reply, &[])
    }

    fn signal(&self, id: u64, number: i32) {
        let (Some(running), Some(signal)) = (self.running.get(&id), Signal::from_named_raw(number)) else {
            return;
        };
        let foreground = running
            .terminal
            .as_ref()
            .and_then(|terminal| tcgetpgrp(terminal).ok());
        // A group whose last process just ended is no error.
        let _ = kill_process_group(foreground.unwrap_or(running.leader), signal);
    }

    /// Waits for everything that has ended: commands, and what they left behind.
    fn reap(&mut self) -> io::Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let id = self
                .running
                .iter()
                .find_map(|(id, running)| (running.leader == pid).then_some(*id));
            if let Some(id) = id {
                self.running.remove(&id);
                let code = exit_code(status);
                self.reply(&Reply::Exited { id, code })?;
            }
        }
        Ok(())
    }

    /// In a pid namespace the kernel does this when the first process ends; elsewhere it has to be done.
    fn end(&self) {
        tree::kill_descendants(rustix::process::getpid());
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// A connection on its way; the host waits for the outcome.
fn connecting(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
