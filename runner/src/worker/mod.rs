//! The worker: takes runs from an edge and drives them, many at a time.
//!
//! Invariant: a run is driven only while its lease is held, and no lease is left to run out that could be given back: a worker
//! that shuts down lets go of every run, wherever it stands.

pub mod doorbell;
mod presence;
mod shift;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use roost_shared::{
    AgentId,
    problem::Problem,
    wire::{Lease, Signal},
};
use tokio::sync::{Notify, mpsc, watch};

use self::shift::Shift;
use crate::{clock, edge_client::EdgeClient};

/// Drives one leased run to its end, or until it is told to stop.
pub trait Driver: Send + Sync {
    /// Drives the run. Ends when the run has ended, sleeps, was given back, or can't be journaled any more.
    fn drive(&self, lease: Lease, control: Control) -> BoxFuture<'static, ()>;

    /// The agents whose runs it can drive just now, where those are not all. Runs that need a sprite of their own are
    /// none of them.
    fn only(&self) -> Option<Vec<AgentId>> {
        None
    }
}

/// What a driven run hears from its worker.
pub struct Control {
    /// What the run is told from outside.
    pub signals: mpsc::UnboundedReceiver<Signal>,
    /// Whether the run should be given back.
    pub drain: watch::Receiver<Drain>,
}

/// How urgently a run should be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Not at all: go on.
    No,
    /// At the next safe point, between two steps.
    Soon,
    /// At once, in the middle of a step: the next runner goes on from what the journal has.
    Now,
}

/// How a worker behaves.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The name of this process, unique among those that share its token.
    pub name: String,
    /// Runs driven at a time.
    pub slots: u32,
    /// Where the edge may ring, if it can reach this runner: `http://host:port/doorbell`.
    pub doorbell: Option<String>,
    /// How often the edge is asked to do what is due.
    pub tick: Duration,
    /// How long runs may take to reach a safe point when the worker shuts down; then they are given back where they are.
    pub grace: Duration,
}

/// The worker can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct WorkerError(pub Problem);

/// A worker, ready to run.
pub struct Worker {
    config: WorkerConfig,
    edge: EdgeClient,
    driver: Arc<dyn Driver>,
    bell: Arc<doorbell::Doorbell>,
}

impl Worker {
    /// A worker of one edge.
    pub fn new(config: WorkerConfig, edge: EdgeClient, driver: Arc<dyn Driver>) -> Self {
        let bell = Arc::new(doorbell::Doorbell::new(config.name.clone()));
        Self {
            config,
            edge,
            driver,
            bell,
        }
    }

    /// The doorbell, to be served where [`WorkerConfig::doorbell`] says.
    pub fn doorbell(&self) -> Arc<doorbell::Doorbell> {
        self.bell.clone()
    }

    /// Works until `shutdown` completes, then gives its runs back and returns.
    ///
    /// # Errors
    /// When the edge refuses this runner: its token is forged, expired or revoked.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), WorkerError> {
        let ticking = tokio::spawn(tick(self.edge.clone(), self.config.tick, self.bell.rung()));
        // Before the first lease, so that what an earlier process of this name held is not taken for this one's.
        let present = presence::hold(self.edge.clone(), &self.config.name).await;
        let outcome = Shift::new(&self).work(shutdown).await;
        ticking.abort();
        present.abort();
        outcome
    }
}

/// Asks the edge to do what is due. What is due before the next time rings when it is: a run that slept, or that waited for
/// a further message, is taken then.
async fn tick(edge: EdgeClient, every: Duration, rung: Rung) {
    loop {
        tokio::time::sleep(every).await;
        let due = match edge.tick().await {
            Ok(done) => done.next_due,
            Err(error) => {
                tracing::debug!("no tick: {error}");
                None
            }
        };
        let now = clock::now();
        if let Some(due) = due.filter(|due| *due >= now && *due < now + every) {
            tokio::time::sleep(due.since(now)).await;
            rung.notify_one();
        }
    }
}

/// A notification that keeps one ring until it is heard.
type Rung = Arc<Notify>;
