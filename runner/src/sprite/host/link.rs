//! The host's end of the socket to a sprite's init, and who waits behind it.
//!
//! Invariant: whoever waits for an answer or an exit hears when the socket closes, at once. What comes from an init answers a
//! question that was asked, or is nothing.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::{io::Interest, net::UnixDatagram, sync::oneshot, time};

use super::init::wire::{self, Reply, Request};

/// How long an init may take to answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What a command's exit is when its sprite was ended: 128 + SIGKILL.
const KILLED: i32 = 137;

/// What an init said, and the descriptors beside it.
pub(super) type Answer = (Reply, Vec<OwnedFd>);

/// The socket and who waits behind it.
#[derive(Debug)]
pub(super) struct Link {
    /// A socket of packets, as datagrams are, but one that ends.
    socket: UnixDatagram,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    ended: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    frozen: Option<oneshot::Sender<Answer>>,
    exits: HashMap<u64, oneshot::Sender<i32>>,
}

impl Link {
    /// Over that socket.
    pub(super) fn new(socket: UnixDatagram) -> Self {
        Self {
            socket,
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nothing else was asked under.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The exit of the command that will be started under this number.
    pub(super) fn exit(&self, id: u64) -> oneshot::Receiver<i32> {
        let (exited, exit) = oneshot::channel();
        self.waiting().exits.insert(id, exited);
        exit
    }

    /// It was not started.
    pub(super) fn forget_exit(&self, id: u64) {
        self.waiting().exits.remove(&id);
    }

    /// Sends what gets no answer of its own.
    pub(super) async fn send(&self, request: &Request) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, || wire::send(&self.socket, request, &[]))
            .await
    }

    /// Sends a question with that number, and waits for the answer.
    pub(super) async fn ask(&self, id: u64, request: &Request) -> io::Result<Answer> {
        let (answered, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.ended {
                return Err(gone());
            }
            waiting.answers.insert(id, answered);
        }
        let answer = self.wait(request, answer).await;
        if answer.is_err() {
            self.waiting().answers.remove(&id);
        }
        answer
    }

    /// Has every process stopped.
    pub(super) async fn freeze(&self) -> io::Result<()> {
        let (answered, answer) = oneshot::channel();
        self.waiting().frozen = Some(answered);
        self.wait(&Request::Freeze, answer).await?;
        Ok(())
    }

    async fn wait(&self, request: &Request, answer: oneshot::Receiver<Answer>) -> io::Result<Answer> {
        self.send(request).await?;
        match time::timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer.map_err(|_| gone()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Hands on what the init says until it is gone, or `dropped` resolves.
    pub(super) async fn attend(&self, mut buffer: Vec<u8>, mut dropped: oneshot::Receiver<()>) {
        loop {
            let received = tokio::select! {
                received = receive(&self.socket, &mut buffer) => received,
                _ = &mut dropped => break,
            };
            match received {
                Ok(Some((reply, descriptors))) => self.deliver(reply, descriptors),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a sprite's init broke its protocol; the sprite is ended");
                    break;
                }
            }
        }
        if let Err(error) = shutdown(&self.socket, Shutdown::Both) {
            tracing::debug!(%error, "the sprite's init was gone already");
        }
    }

    fn deliver(&self, reply: Reply, descriptors: Vec<OwnedFd>) {
        let mut waiting = self.waiting();
        match reply {
            Reply::Exited { id, code } => {
                if let Some(exited) = waiting.exits.remove(&id) {
                    // Nobody waits for a command whose session could not be made.
                    let _ = exited.send(code);
                }
            }
            Reply::Frozen => {
                if let Some(answered) = waiting.frozen.take() {
                    let _ = answered.send((reply, descriptors));
                }
            }
            Reply::Started { id, .. }
            | Reply::Refused { id, .. }
            | Reply::Connected { id }
            | Reply::NotConnected { id, .. }
            | Reply::Ports { id, .. } => {
                if let Some(answered) = waiting.answers.remove(&id) {
                    let _ = answered.send((reply, descriptors));
                }
            }
            Reply::Ready { .. } | Reply::NotReady { .. } => {}
        }
    }

    /// Tells everybody who waits that the init is gone.
    pub(super) fn end(&self) {
        let exits = {
            let mut waiting = self.waiting();
            waiting.ended = true;
            waiting.answers.clear();
            waiting.frozen = None;
            std::mem::take(&mut waiting.exits)
        };
        for exited in exits.into_values() {
            let _ = exited.send(KILLED);
        }
    }
}

/// Reads one packet; `None` when the init is gone.
pub(super) async fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<Option<Answer>> {
    socket
        .async_io(Interest::READABLE, || wire::receive(socket, buffer))
        .await
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the sprite was ended")
}
