//! An exec session: a command, its output, and the clients that come and go.
//!
//! Invariant: a session outlives its clients for as long as its request allows and no longer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, mpsc},
    time,
};

use super::{output::Output, process::Terminal, pump::Input, sandbox::Handle};
use crate::sprite::{Signal, wire::SessionInfo};

/// Stdin a session holds that its command has not read yet.
pub(super) const STDIN_BYTES: usize = 1 << 20;
/// How long a command that nobody waits for any more has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// What a client asked for beyond the command itself.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Remember the session for a while after its end.
    pub(super) detachable: bool,
    /// How long it may run without a client; `None` for ever.
    pub(super) keep: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) command: String,
    pub(super) workdir: String,
    pub(super) tty: bool,
    pub(super) created: Timestamp,
    pub(super) terms: Terms,
    pub(super) output: Arc<Output>,
    /// `None` for a command that could not be started.
    pub(super) handle: Option<Handle>,
    pub(super) terminal: Option<Terminal>,
    pub(super) stdin: mpsc::Sender<Input>,
    pub(super) stdin_room: Arc<Semaphore>,
    pub(super) clients: Mutex<Clients>,
    pub(super) bytes: AtomicU64,
    pub(super) last_activity: AtomicI64,
}

#[derive(Debug, Default)]
pub(super) struct Clients {
    connected: usize,
    /// Counts arrivals, so that a timer knows whether anyone came since it was set.
    arrivals: u64,
}

/// One connected client. Dropping it starts the session's time without clients.
#[derive(Debug)]
pub(super) struct Client(Arc<Session>);

impl Session {
    pub(super) fn client(self: &Arc<Self>) -> Client {
        let mut clients = self.clients();
        clients.connected += 1;
        clients.arrivals += 1;
        Client(Arc::clone(self))
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn info(&self) -> SessionInfo {
        let age = Timestamp::now()
            .duration_since(self.created)
            .as_secs_f64()
            .max(0.001);
        let last = Timestamp::from_millisecond(self.last_activity.load(Ordering::Relaxed)).ok();
        SessionInfo {
            id: self.id.clone(),
            command: self.command.clone(),
            workdir: self.workdir.clone(),
            created: self.created.to_string(),
            bytes_per_second: self.bytes.load(Ordering::Relaxed) as f64 / age,
            is_active: self.running(),
            last_activity: last.map(|last| last.to_string()),
            tty: self.tty,
        }
    }

    pub(super) fn running(&self) -> bool {
        self.output.exit().is_none()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.handle.as_ref().map(|handle| handle.pid)
    }

    /// Bytes for the command; waits while it has a lot to read already.
    pub(super) async fn write(&self, bytes: Bytes) {
        self.touch();
        let room = u32::try_from(bytes.len().min(STDIN_BYTES)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.stdin_room).acquire_many_owned(room).await {
            // The receiver is gone once the command has ended: as with a pipe to nobody.
            let _ = self.stdin.send(Input::Bytes(bytes, permit)).await;
        }
    }

    pub(super) async fn eof(&self) {
        let _ = self.stdin.send(Input::Eof).await;
    }

    pub(super) fn resize(&self, rows: u16, cols: u16) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.resize(rows, cols)
        {
            tracing::debug!(session = self.id, %error, "the terminal was not resized");
        }
    }

    /// Sends a signal to the command; `false` when it has ended.
    pub(super) async fn signal(&self, signal: Signal) -> bool {
        let Some(handle) = self.handle.as_ref().filter(|_| self.running()) else {
            return false;
        };
        match handle.signal(signal).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(session = self.id, %error, "the signal found nobody");
                false
            }
        }
    }

    /// Kills the command with everything in its process session.
    pub(super) async fn kill_tree(&self) {
        let Some(handle) = &self.handle else { return };
        if let Err(error) = handle.kill().await {
            tracing::debug!(session = self.id, %error, "the sprite was gone before the command could be killed");
        }
    }

    /// Asks the command to end, and kills it if it does not.
    async fn end(&self) {
        self.signal(Signal::Term).await;
        if time::timeout(GRACE, self.output.finished()).await.is_err() {
            self.kill_tree().await;
        }
    }

    pub(super) fn touch(&self) {
        self.last_activity
            .store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.0.clients();
        clients.connected -= 1;
        let (Some(keep), 0, true) = (self.0.terms.keep, clients.connected, self.0.running()) else {
            return;
        };
        let arrivals = clients.arrivals;
        drop(clients);
        let session = Arc::clone(&self.0);
        // Without a runtime the host is ending, and ends the command itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if time::timeout(keep, session.output.finished()).await.is_ok() {
                    return;
                }
                let nobody_came = { session.clients().arrivals == arrivals };
                if nobody_came {
                    session.end().await;
                }
            });
        }
    }
}
