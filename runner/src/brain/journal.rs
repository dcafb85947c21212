//! A run's journal as its driver writes it: every write goes through the edge, in order, and the folded state follows it.
//!
//! Invariant: nothing is written after a write that failed, and a write is sent only when the one before it is durable. The
//! state may be ahead of the edge by one write at most, and only where nothing outside comes of it: see
//! [`Journal::write_behind`] and [`Journal::hold`].

use std::{convert::Infallible, future, mem, sync::Arc, time::Duration};

use async_trait::async_trait;
use roost_shared::{
    RunId,
    event::EventBody,
    fail_point::{self, FailPoint},
    problem::Problem,
    run::{NotAJournal, RunState},
    wire::{AppendRequest, AppendResponse, CredentialRequest, CredentialResponse, Lease, Signal},
};
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

use crate::{
    edge_client::{EdgeClient, EdgeError},
    tool::{CredentialSource, Remote, SessionLog, SessionLogError},
};

/// The edge's refusal of events that take in what was taken back.
const SIGNAL_WITHDRAWN: &str = "signal_withdrawn";

/// Events in one append at most, as the edge takes them.
const MOST_EVENTS: usize = 256;

/// How long events wait for the next append to take them along. Longer than an answer takes that is there at once, and no
/// time beside one that is thought about.
const HOLD: Duration = Duration::from_millis(3);

/// Where journals are kept: the edge, or in tests a list.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends, durably, or says why not. Appending the same twice is appending it once.
    async fn append(&self, run: RunId, request: &AppendRequest) -> Result<AppendResponse, EdgeError>;

    /// A credential for git in the run's sprite. Without an edge there is none.
    async fn credential(
        &self,
        _run: RunId,
        _request: &CredentialRequest,
    ) -> Result<CredentialResponse, EdgeError> {
        Err(EdgeError::Refused(Problem::new(
            "credential_elsewhere",
            "there is no edge here that gives credentials",
        )))
    }
}

/// The edge, tried for as long as a lease may last.
pub struct EdgeStore {
    /// The edge.
    pub edge: EdgeClient,
    /// How long to keep trying while it is away.
    pub patience: Duration,
}

#[async_trait]
impl Store for EdgeStore {
    async fn append(&self, run: RunId, request: &AppendRequest) -> Result<AppendResponse, EdgeError> {
        self.edge.append(run, request, self.patience).await
    }

    async fn credential(
        &self,
        run: RunId,
        request: &CredentialRequest,
    ) -> Result<CredentialResponse, EdgeError> {
        self.edge.credential(run, request).await
    }
}

/// The run can't be journaled any more: its lease is lost or the edge is away. Stop, write nothing more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the run can't be journaled: {0}")]
pub struct Stopped(#[from] pub EdgeError);

/// One run's journal under one lease.
pub struct Journal {
    store: Arc<dyn Store>,
    run: RunId,
    epoch: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    state: RunState,
    signals: Vec<Signal>,
    stopped: Option<Stopped>,
    /// The write that is under way while the run goes on.
    behind: Option<JoinHandle<Result<AppendResponse, EdgeError>>>,
    /// What the state has and no write has taken along yet.
    held: Vec<EventBody>,
}

impl Inner {
    /// The state has these events from now on.
    fn hold(&mut self, events: Vec<EventBody>) {
        for event in &events {
            self.state.apply(event);
        }
        self.held.extend(events);
    }

    /// Waits until all that was written behind is durable.
    async fn settle(&mut self) -> Result<(), Stopped> {
        if let Some(behind) = &mut self.behind {
            // Taken out only when it has ended: a caller that gives up waiting must not lose it.
            let ended = behind.await;
            self.behind = None;
            let answer = ended.unwrap_or_else(|error| {
                Err(EdgeError::Unavailable {
                    reason: format!("the write was broken off: {error}"),
                    retry_after: None,
                })
            });
            match answer {
                Ok(response) => self.signals.extend(response.signals),
                Err(error) => self.stopped = Some(Stopped(error)),
            }
        }
        self.stopped.clone().map_or(Ok(()), Err)
    }
}

impl Journal {
    /// The journal of a lease, folded; it is taken out of the lease, so that the run does not hold all that was said twice.
    ///
    /// # Errors
    /// When the lease's journal is none.
    pub fn open(store: Arc<dyn Store>, lease: &mut Lease) -> Result<Self, NotAJournal> {
        let state = RunState::fold(&mem::take(&mut lease.journal))?;
        let inner = Mutex::new(Inner {
            state,
            signals: Vec::new(),
            stopped: None,
            behind: None,
            held: Vec::new(),
        });
        Ok(Self {
            store,
            run: lease.run,
            epoch: lease.epoch,
            inner,
        })
    }

    /// Appends events, in order, all or none, and before them what was held. Writers take turns, so that the seqs follow each
    /// other.
    ///
    /// Events that end the run, make it ask, or take in what it was told may be held back by something that came before them:
    /// then nothing is written, the state stays as it is, and what is to be heard is among the signals, or was taken back.
    ///
    /// # Errors
    /// When the run is no longer this runner's; then nothing can be written any more.
    pub async fn write(&self, events: Vec<EventBody>) -> Result<(), Stopped> {
        self.try_write(events).await.map(drop)
    }

    /// As [`write`](Self::write); gives the events back if they were held back.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn try_write(&self, events: Vec<EventBody>) -> Result<Vec<EventBody>, Stopped> {
        let mut inner = self.inner.lock().await;
        inner.settle().await?;
        if inner.held.len() + events.len() > MOST_EVENTS {
            self.send_held(&mut inner);
            inner.settle().await?;
        }
        let held = inner.held.len();
        let mut request = self.request(&mut inner, events);
        if request.events.is_empty() {
            return Ok(Vec::new());
        }
        match self.store.append(self.run, &request).await {
            Ok(response) => {
                fail_point::reach(FailPoint::EventsWritten);
                inner.signals.extend(response.signals);
                if response.next_seq > request.expected_seq {
                    for event in &request.events[held..] {
                        inner.state.apply(event);
                    }
                    return Ok(Vec::new());
                }
            }
            Err(EdgeError::Refused(problem)) if problem.code == SIGNAL_WITHDRAWN => {}
            Err(error) => {
                let stopped = Stopped(error);
                inner.stopped = Some(stopped.clone());
                return Err(stopped);
            }
        }
        // There is something to hear before the run may end or ask, or nothing to take in any more: nothing was written.
        let held_back = request.events.split_off(held);
        inner.held = request.events;
        Ok(held_back)
    }

    /// Appends events like [`write`](Self::write), but lets the run go on meanwhile: the state has them at once, and the
    /// next write waits for them. Only for what the model may be asked about before it is durable: a crash then costs that
    /// one answer, as a crash during any call of the model does. Whether it could be written is said by the next write.
    ///
    /// # Errors
    /// When the run was no longer this runner's before.
    pub async fn write_behind(&self, events: Vec<EventBody>) -> Result<(), Stopped> {
        let mut inner = self.inner.lock().await;
        inner.settle().await?;
        inner.hold(events);
        self.send_held(&mut inner);
        Ok(())
    }

    /// Appends events like [`write_behind`](Self::write_behind), and waits a moment for company: an append that follows at
    /// once takes them along, else [`hold_no_longer`](Self::hold_no_longer) sends them. Only for what is no worse for being
    /// found out again: results of calls that may be repeated.
    ///
    /// # Errors
    /// When the run was no longer this runner's before.
    pub async fn hold(&self, events: Vec<EventBody>) -> Result<(), Stopped> {
        let mut inner = self.inner.lock().await;
        inner.settle().await?;
        inner.hold(events);
        Ok(())
    }

    /// Sends what is held when it has been held for long enough; goes on for as long as it is let. To be polled beside
    /// whatever stands between this write and the next.
    pub async fn hold_no_longer(&self) -> Infallible {
        if !self.inner.lock().await.held.is_empty() {
            sleep(HOLD).await;
            self.send_held(&mut *self.inner.lock().await);
        }
        future::pending().await
    }

    /// Begins to write what is held. Nothing may be under way.
    fn send_held(&self, inner: &mut Inner) {
        let request = self.request(inner, Vec::new());
        if request.events.is_empty() {
            return;
        }
        let (store, run) = (self.store.clone(), self.run);
        inner.behind = Some(tokio::spawn(async move {
            let answer = store.append(run, &request).await;
            fail_point::reach(FailPoint::ResultsBehind);
            answer
        }));
    }

    /// The next append: what is held, and `events`.
    fn request(&self, inner: &mut Inner, mut events: Vec<EventBody>) -> AppendRequest {
        let held = u64::try_from(inner.held.len()).unwrap_or(u64::MAX);
        if held > 0 {
            events = mem::take(&mut inner.held).into_iter().chain(events).collect();
        }
        AppendRequest {
            epoch: self.epoch,
            // The state has what was held.
            expected_seq: inner.state.next_seq - held,
            events,
        }
    }

    /// What the journal says, what is held or being written behind included.
    pub async fn read<T>(&self, look: impl FnOnce(&RunState) -> T) -> T {
        look(&self.inner.lock().await.state)
    }

    /// The signals that came with answers to writes.
    pub async fn take_signals(&self) -> Vec<Signal> {
        std::mem::take(&mut self.inner.lock().await.signals)
    }
}

#[async_trait]
impl SessionLog for Journal {
    async fn session_opened(
        &self,
        purpose: &str,
        sprite: &str,
        session: &str,
    ) -> Result<(), SessionLogError> {
        let event = EventBody::SessionOpened {
            purpose: purpose.to_owned(),
            sprite: sprite.to_owned(),
            session: session.to_owned(),
        };
        self.write(vec![event])
            .await
            .map_err(|stopped| SessionLogError(stopped.to_string()))
    }
}

#[async_trait]
impl CredentialSource for Journal {
    async fn credential(&self, remote: &Remote) -> Result<CredentialResponse, String> {
        let request = CredentialRequest {
            epoch: self.epoch,
            protocol: remote.protocol.clone(),
            host: remote.host.clone(),
            path: remote.path.clone(),
        };
        let given = self.store.credential(self.run, &request).await;
        given.map_err(|error| error.to_string())
    }
}
