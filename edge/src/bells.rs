//! Bells: wake whoever waits in this process. A hint and never the truth: a waiter that hears nothing looks again
//! after a while, and on hosts where every request has a process of its own that is all there is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use event_listener::{Event, EventListener};
use roost_shared::RunId;

/// What can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A run of the workspace may be leased; wakes one waiter per run.
    Work(Arc<str>),
    /// A run of the workspace has been sent a signal; wakes all.
    Signals(Arc<str>),
    /// The run's journal has grown; wakes all.
    Journal(RunId),
    /// The edge shuts down; wakes all.
    End,
}

/// The bells of one edge.
#[derive(Default)]
pub struct Bells {
    bells: Mutex<HashMap<Topic, Arc<Event>>>,
    closed: AtomicBool,
}

impl Bells {
    /// Begins to wait. Listen first, then look, then wait: so nothing that happens in between is missed.
    pub fn listen(&self, topic: Topic) -> EventListener {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        // A bell nobody holds a listener of is dead weight: run journals come and go.
        if bells.len() > 1024 {
            bells.retain(|_, bell| bell.total_listeners() > 0);
        }
        bells.entry(topic).or_default().listen()
    }

    /// Wakes up to `waiters`.
    pub fn ring(&self, topic: &Topic, waiters: usize) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(topic) {
            bell.notify_additional(waiters);
        }
    }

    /// The edge shuts down: wakes everybody, and from now on nobody should wait.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in bells.values() {
            bell.notify_additional(usize::MAX);
        }
    }

    /// Whether the edge shuts down.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
