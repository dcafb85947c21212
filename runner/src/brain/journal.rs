//! A run's journal as its driver writes it: every write goes through the edge, in order, and the folded state follows it.
//!
//! Invariant: nothing is written after a write that failed, and a write is sent only when the one before it is durable. The
//! state may be ahead of the edge by one write at most, and only where nothing outside comes of it: see
//! [`Journal::write_behind`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use roost_shared::{
    RunId,
    event::EventBody,
    fail_point::{self, FailPoint},
    problem::Problem,
    run::{NotAJournal, RunState},
    wire::{AppendRequest, AppendResponse, CredentialRequest, CredentialResponse, Lease, Signal},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
};

use crate::{
    edge_client::{EdgeClient, EdgeError},
    tool::{CredentialSource, Remote, SessionLog, SessionLogError},
};

/// The edge's refusal of events that take in what was taken back.
const SIGNAL_WITHDRAWN: &str = "signal_withdrawn";

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
}

impl Inner {
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
    /// The journal of a lease, folded.
    ///
    /// # Errors
    /// When the lease's journal is none.
    pub fn open(store: Arc<dyn Store>, lease: &Lease) -> Result<Self, NotAJournal> {
        let state = RunState::fold(&lease.journal)?;
        let inner = Mutex::new(Inner {
            state,
            signals: Vec::new(),
            stopped: None,
            behind: None,
        });
        Ok(Self {
            store,
            run: lease.run,
            epoch: lease.epoch,
            inner,
        })
    }

    /// Appends events, in order, all or none. Writers take turns, so that the seqs follow each other.
    ///
    /// Events that end the run, make it ask, or take in what it was told may be held back by something that came before them:
    /// then nothing is written, the state stays as it is, and what is to be heard is among the signals, or was taken back.
    ///
    /// # Errors
    /// When the run is no longer this runner's; then nothing can be written any more.
    pub async fn write(&self, events: Vec<EventBody>) -> Result<(), Stopped> {
        if events.is_empty() {
            return Ok(());
        }
        let (mut inner, request) = self.next(events).await?;
        match self.store.append(self.run, &request).await {
            Ok(response) => {
                fail_point::reach(FailPoint::EventsWritten);
                // There is something to hear before the run may end or ask: nothing was written.
                if response.next_seq > request.expected_seq {
                    for event in &request.events {
                        inner.state.apply(event);
                    }
                }
                inner.signals.extend(response.signals);
                Ok(())
            }
            Err(EdgeError::Refused(problem)) if problem.code == SIGNAL_WITHDRAWN => Ok(()),
            Err(error) => {
                let stopped = Stopped(error);
                inner.stopped = Some(stopped.clone());
                Err(stopped)
            }
        }
    }

    /// Appends events like [`write`](Self::write), but lets the run go on meanwhile: the state has them at once, and the
    /// next write waits for them. Only for what the model may be asked about before it is durable: a crash then costs that
    /// one answer, as a crash during any call of the model does. Whether it could be written is said by the next write.
    ///
    /// # Errors
    /// When the run was no longer this runner's before.
    pub async fn write_behind(&self, events: Vec<EventBody>) -> Result<(), Stopped> {
        if events.is_empty() {
            return Ok(());
        }
        let (mut inner, request) = self.next(events).await?;
        for event in &request.events {
            inner.state.apply(event);
        }
        let (store, run) = (self.store.clone(), self.run);
        inner.behind = Some(tokio::spawn(async move { store.append(run, &request).await }));
        Ok(())
    }

    /// The next append, once all before it are durable. Its writer holds the journal until it has sent it.
    async fn next(&self, events: Vec<EventBody>) -> Result<(MutexGuard<'_, Inner>, AppendRequest), Stopped> {
        let mut inner = self.inner.lock().await;
        inner.settle().await?;
        let request = AppendRequest {
            epoch: self.epoch,
            expected_seq: inner.state.next_seq,
            events,
        };
        Ok((inner, request))
    }

    /// What the journal says, what is being written behind included.
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
