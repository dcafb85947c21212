//! What a run hears: from people, by signals, and from its own runner, which may want to give it back.
//!
//! Invariant: only a cancel, and a runner that can't wait any longer, break into work; whatever else is said is kept until
//! the run has come to a safe point, and is acted upon once, by whichever way and however often it arrives.

use roost_shared::{
    event::EventBody,
    run::RunState,
    wire::{Signal, SignalBody},
};

use super::journal::Journal;
use crate::worker::{Control, Drain};

/// Why work was interrupted.
pub(super) enum Interrupt {
    /// A person stops the run.
    Cancel {
        /// Who.
        by: String,
    },
    /// A person pauses the run.
    Pause {
        /// Who.
        by: String,
    },
    /// The runner shuts down.
    Drain,
}

/// The run's ears.
pub(super) struct Ears {
    control: Control,
    /// Heard, and not acted upon yet; in the order of arrival.
    inbox: Vec<Signal>,
}

impl Ears {
    /// Ears that have heard what came with the lease.
    pub(super) fn new(control: Control, told: Vec<Signal>) -> Self {
        Self { control, inbox: told }
    }

    /// Whether something interrupts the run at a safe point.
    pub(super) async fn interrupted(&mut self, journal: &Journal) -> Option<Interrupt> {
        self.listen(journal).await;
        let mut interrupts: Vec<Interrupt> = self.inbox.iter().filter_map(interrupt).collect();
        let cancel = interrupts
            .iter()
            .position(|interrupt| matches!(interrupt, Interrupt::Cancel { .. }));
        if !interrupts.is_empty() {
            return Some(interrupts.swap_remove(cancel.unwrap_or(0)));
        }
        (*self.control.drain.borrow() >= Drain::Soon).then_some(Interrupt::Drain)
    }

    /// Forgets pauses: those it was told of were taken back.
    pub(super) fn forget_pauses(&mut self) {
        let is_pause = |signal: &Signal| matches!(signal.body, SignalBody::Pause { .. });
        self.inbox.retain(|signal| !is_pause(signal));
    }

    /// Whether nothing has been heard that is yet to be acted upon.
    pub(super) async fn are_quiet(&mut self, journal: &Journal) -> bool {
        self.listen(journal).await;
        self.inbox.is_empty()
    }

    async fn listen(&mut self, journal: &Journal) {
        for signal in journal.take_signals().await {
            keep(&mut self.inbox, signal);
        }
        while let Ok(signal) = self.control.signals.try_recv() {
            keep(&mut self.inbox, signal);
        }
    }

    /// What was said since, as the events that take it in; the next call has only what came after.
    pub(super) fn said(&mut self, state: &RunState) -> Vec<EventBody> {
        let events = state.take_in(&self.inbox);
        self.inbox.retain(|signal| interrupt(signal).is_some());
        events
    }

    /// Does `work` unless a person stops the run meanwhile, or the runner can't wait for it any longer; then the work is
    /// dropped.
    pub(super) async fn unless_interrupted<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupt> {
        let Self { control, inbox } = self;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                Some(signal) = control.signals.recv() => {
                    if let SignalBody::Cancel { by } = signal.body {
                        return Err(Interrupt::Cancel { by });
                    }
                    keep(inbox, signal);
                }
                Ok(_) = control.drain.wait_for(|drain| *drain == Drain::Now) => return Err(Interrupt::Drain),
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Waits, unless a person stops or pauses the run or the runner shuts down meanwhile.
    pub(super) async fn wait(&mut self, span: std::time::Duration) -> Option<Interrupt> {
        let Self { control, inbox } = self;
        let mut sleep = std::pin::pin!(tokio::time::sleep(span));
        loop {
            tokio::select! {
                Some(signal) = control.signals.recv() => {
                    let interrupt = interrupt(&signal);
                    keep(inbox, signal);
                    if interrupt.is_some() {
                        return interrupt;
                    }
                }
                Ok(_) = control.drain.wait_for(|drain| *drain >= Drain::Soon) => return Some(Interrupt::Drain),
                () = &mut sleep => return None,
            }
        }
    }
}

fn keep(inbox: &mut Vec<Signal>, signal: Signal) {
    if inbox.iter().all(|kept| kept.id != signal.id) {
        inbox.push(signal);
    }
}

fn interrupt(signal: &Signal) -> Option<Interrupt> {
    match &signal.body {
        SignalBody::Cancel { by } => Some(Interrupt::Cancel { by: by.clone() }),
        SignalBody::Pause { by } => Some(Interrupt::Pause { by: by.clone() }),
        SignalBody::Steer { .. } | SignalBody::Answer { .. } => None,
    }
}
