//! One worker's runs, from its first poll to its last word.
//!
//! Invariant: the poll that takes new runs renews the held ones, at a third of the lease's time at the latest; a run the edge
//! reports lost is dropped at once, and nothing of it is written any more (the edge would refuse it anyway). A poll without an
//! answer is withdrawn before the next.

use std::{collections::HashMap, time::Duration};

use roost_shared::{
    PollId, RunId, SignalId,
    fail_point::{self, FailPoint},
    wire::{Held, PollRequest, PollResponse, Signal},
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{Control, Drain, Worker, WorkerError};
use crate::{clock, edge_client::EdgeError, random};

/// The longest a poll is held by the edge, whatever the lease.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Signals named as heard in one poll; the edge tells the others again, which does no harm.
const MOST_HEARD: usize = 4_096;
/// Pauses after a failed poll: this, doubling, at most [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long it may take to give back what was not given back in the time of grace.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// One worker's runs.
pub(super) struct Shift<'a> {
    worker: &'a Worker,
    held: HashMap<RunId, Driven>,
    tasks: JoinSet<RunId>,
    drain: watch::Sender<Drain>,
    /// A poll that may have taken leases and has not been answered.
    unanswered: Option<PollId>,
    lease: Duration,
    /// When the held leases must be renewed.
    renew_at: Instant,
}

struct Driven {
    epoch: u64,
    /// The signals it was told.
    heard: Vec<SignalId>,
    signals: mpsc::UnboundedSender<Signal>,
    abort: AbortHandle,
}

impl<'a> Shift<'a> {
    pub(super) fn new(worker: &'a Worker) -> Self {
        Self {
            worker,
            held: HashMap::new(),
            tasks: JoinSet::new(),
            drain: watch::Sender::new(Drain::No),
            unanswered: None,
            lease: Duration::from_secs(30),
            renew_at: Instant::now(),
        }
    }

    pub(super) async fn work(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), WorkerError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut pause = FIRST_PAUSE;
        loop {
            let room = self
                .worker
                .config
                .slots
                .saturating_sub(u32::try_from(self.held.len()).unwrap_or(u32::MAX));
            let outcome = tokio::select! {
                biased;
                () = &mut shutdown => break,
                outcome = self.poll_with(room) => outcome,
            };
            match outcome {
                Ok(()) => pause = FIRST_PAUSE,
                Err(EdgeError::Refused(problem)) => return Err(WorkerError(problem)),
                Err(error) => {
                    tracing::warn!("{error}; trying again in {} ms", pause.as_millis());
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        self.give_back().await;
        Ok(())
    }

    /// Polls once and takes what it brings. A poll that can take leases is never dropped by a run that ends meanwhile;
    /// one that can't is, so that the room can be offered at once.
    async fn poll_with(&mut self, room: u32) -> Result<(), EdgeError> {
        self.withdraw().await?;
        let rung = self.worker.bell.rung();
        let waits = self.worker.config.doorbell.is_none() || room == 0;
        let request = self.request(room, waits);
        self.unanswered = request.poll;
        let mut poll = std::pin::pin!(self.worker.edge.poll(&request));
        let response = loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    self.forget(ended);
                    if room == 0 {
                        return Ok(());
                    }
                }
                response = &mut poll => break response?,
            }
        };
        self.unanswered = None;
        let idle = response.leases.is_empty();
        self.take(response);
        if idle && !waits {
            // The edge rings when there is more; the lease has to be renewed in any case.
            tokio::select! {
                () = rung.notified() => {}
                () = tokio::time::sleep_until(self.renew_at) => {}
                Some(ended) = self.tasks.join_next() => self.forget(ended),
            }
        }
        Ok(())
    }

    /// Gives back what an unanswered poll may have taken.
    async fn withdraw(&mut self) -> Result<(), EdgeError> {
        let Some(poll) = self.unanswered else {
            return Ok(());
        };
        let withdrawn = self.worker.edge.withdraw(poll).await?;
        self.unanswered = None;
        for run in withdrawn.given_back {
            tracing::info!(%run, "given back: the poll that took it was not answered");
        }
        Ok(())
    }

    fn request(&self, room: u32, waits: bool) -> PollRequest {
        let wait = if waits {
            (self.lease / 3).min(LONGEST_WAIT)
        } else {
            Duration::ZERO
        };
        PollRequest {
            runner: self.worker.config.name.clone(),
            // What takes nothing need not be withdrawn.
            poll: (room > 0).then(|| PollId::new(clock::now(), random::bytes())),
            doorbell: self.worker.config.doorbell.clone(),
            room,
            held: self
                .held
                .iter()
                .map(|(run, driven)| Held {
                    run: *run,
                    epoch: driven.epoch,
                })
                .collect(),
            heard: self
                .held
                .values()
                .flat_map(|driven| driven.heard.iter().copied())
                .take(MOST_HEARD)
                .collect(),
            only: self.worker.driver.only(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn take(&mut self, response: PollResponse) {
        self.lease = Duration::from_millis(response.lease_ms);
        self.renew_at = Instant::now() + self.lease / 3;
        if let Some(key) = response.doorbell_key {
            self.worker.bell.trust(key);
        }
        for run in response.lost {
            if let Some(driven) = self.held.remove(&run) {
                tracing::warn!(%run, "the lease is lost; somebody else drives the run");
                driven.abort.abort();
            }
        }
        for signal in response.signals {
            if let Some(driven) = self.held.get_mut(&signal.run) {
                driven.heard.push(signal.id);
                // A run that has just ended hears nothing, and need not.
                drop(driven.signals.send(signal));
            }
        }
        for lease in response.leases {
            fail_point::reach(FailPoint::LeaseHeard);
            let (run, epoch) = (lease.run, lease.epoch);
            let heard = lease.signals.iter().map(|signal| signal.id).collect();
            let (signals, hears) = mpsc::unbounded_channel();
            let control = Control {
                signals: hears,
                drain: self.drain.subscribe(),
            };
            let driving = self.worker.driver.drive(lease, control);
            let abort = self.tasks.spawn(async move {
                driving.await;
                run
            });
            // A run that is leased again replaces what was left of its earlier lease.
            if let Some(before) = self.held.insert(
                run,
                Driven {
                    epoch,
                    heard,
                    signals,
                    abort,
                },
            ) {
                before.abort.abort();
            }
        }
    }

    fn forget(&mut self, ended: Result<RunId, tokio::task::JoinError>) {
        match ended {
            // It may have been leased anew by now, to this very runner.
            Ok(run) if self.held.get(&run).is_some_and(|held| held.abort.is_finished()) => {
                self.held.remove(&run);
            }
            Ok(_) => {}
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(
                        "a run's driver panicked; its lease will run out and the run go on elsewhere"
                    );
                }
                self.held.retain(|_, driven| !driven.abort.is_finished());
            }
        }
    }

    /// Lets every run reach a safe point and be released, renewing the leases meanwhile, for as long as the grace; what is
    /// still under way then is given back where it is.
    async fn give_back(&mut self) {
        self.drain.send_replace(Drain::Soon);
        match tokio::time::timeout(LAST_WORDS, self.withdraw()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("what the last poll took waits for its lease's end: {error}"),
            Err(_) => tracing::warn!("what the last poll took waits for its lease's end: the edge is slow"),
        }
        self.until_released(self.worker.config.grace).await;
        self.drain.send_replace(Drain::Now);
        self.until_released(LAST_WORDS).await;
        if !self.held.is_empty() {
            tracing::warn!(
                runs = self.held.len(),
                "runs that could not be given back are left to their leases' end"
            );
        }
    }

    /// Waits until no run is held any more, at most for `span`.
    async fn until_released(&mut self, span: Duration) {
        let deadline = Instant::now() + span;
        while !self.held.is_empty() && Instant::now() < deadline {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => self.forget(ended),
                () = tokio::time::sleep_until(deadline) => {}
                () = tokio::time::sleep_until(self.renew_at) => {
                    let request = self.request(0, false);
                    match self.worker.edge.poll(&request).await {
                        Ok(response) => self.take(response),
                        Err(error) => {
                            tracing::warn!("leases not renewed while shutting down: {error}");
                            self.renew_at = Instant::now() + Duration::from_secs(1);
                        }
                    }
                }
            }
        }
    }
}
