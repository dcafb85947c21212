//! A runner as a simulated host.
//!
//! It is not the product's runner, whose HTTP client and threads can't be moved into the simulation, but a small one by the same
//! rules: the same wire types, the same fold that says what comes next, a presence, a poll that is withdrawn when it was not
//! answered, appends that are repeated. What is under test is the edge, its SQL and the fold; the product's runner is killed
//! for real by `cargo xtask chaos`.
//!
//! Invariant: a run is driven only while its runner believes to hold the lease; all of that belief dies with the process.

mod client;
mod drive;
mod ear;
pub mod script;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use roost_edge::ports::Random;
use roost_shared::{
    PollId, ProcessId, RunId, UnixMillis,
    wire::{Held, PollRequest, PollResponse, PresenceRequest},
};
use tokio::task::JoinSet;

use self::{
    client::{Client, Refusal},
    drive::Driver,
    ear::Ear,
};
use crate::{
    chance::{Chance, SharedChance},
    history::Acks,
    network::Network,
    trace::Trace,
};

/// Runs driven at a time.
const SLOTS: usize = 4;
/// How long the edge may hold a poll, in milliseconds: well below a third of a lease, for ended runs are noticed between polls.
const WAIT: u64 = 900;
/// How often the edge is asked to do what is due.
const TICK: Duration = Duration::from_secs(1);
/// After a poll that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// A runner's host: what outlives its process.
#[derive(Debug, Clone)]
pub struct RunnerHost {
    /// Its name in the network, and the runner's name.
    pub name: String,
    seed: u64,
    number: usize,
    token: String,
    boots: Arc<AtomicU64>,
    acks: Acks,
    trace: Trace,
}

struct Driven {
    epoch: u64,
    ear: Ear,
    work: JoinSet<()>,
}

impl RunnerHost {
    /// The host of the runner with this number in the simulation of a seed.
    pub fn new(number: usize, seed: u64, token: &str, acks: &Acks, trace: &Trace) -> Self {
        Self {
            name: format!("runner-{number}"),
            seed,
            number,
            token: token.to_owned(),
            boots: Arc::default(),
            acks: acks.clone(),
            trace: trace.clone(),
        }
    }

    /// One life of its process.
    ///
    /// # Errors
    /// Never: it lives until it is killed.
    pub async fn live(self) -> turmoil::Result {
        let boot = self.boots.fetch_add(1, Ordering::SeqCst);
        self.trace.note(&self.name, &format!("boots, life {boot}"));
        let chance = SharedChance::new(Chance::new(self.seed, &format!("{}/{boot}", self.name)));
        let network = Network::new(&self.name, Duration::ZERO, &self.trace);
        let client = Client::new(network, &self.token, self.number);
        let process = ProcessId::new(UnixMillis(1), entropy(&chance));
        let presence = PresenceRequest {
            runner: self.name.clone(),
            process,
        };
        let present = client.clone();
        tokio::task::spawn_local(async move {
            loop {
                present.be_present(&presence).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let ticking = client.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(TICK).await;
                // Another one will come.
                drop(ticking.tick().await);
            }
        });
        let shift = Shift {
            driver: Driver {
                host: self.name,
                client,
                chance,
                acks: self.acks,
                trace: self.trace,
            },
            held: BTreeMap::new(),
            unanswered: None,
        };
        shift.work().await;
        Ok(())
    }
}

fn entropy(chance: &SharedChance) -> [u8; 10] {
    let mut bytes = [0; 10];
    chance.fill(&mut bytes);
    bytes
}

/// One process's leases.
struct Shift {
    driver: Driver,
    held: BTreeMap<RunId, Driven>,
    /// A poll that may have taken leases and has not been answered.
    unanswered: Option<PollId>,
}

impl Shift {
    async fn work(mut self) {
        loop {
            self.held.retain(|_, driven| {
                while driven.work.try_join_next().is_some() {}
                !driven.work.is_empty()
            });
            match self.poll().await {
                Ok(response) => self.take(response),
                Err(refusal) => {
                    if let Refusal::No { .. } = refusal {
                        self.driver
                            .trace
                            .note(&self.driver.host, &format!("poll: {refusal}"));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn poll(&mut self) -> Result<PollResponse, Refusal> {
        if let Some(poll) = self.unanswered {
            self.driver.client.withdraw(poll).await?;
            self.unanswered = None;
        }
        let room = SLOTS.saturating_sub(self.held.len());
        let poll = (room > 0).then(|| PollId::new(UnixMillis(1), entropy(&self.driver.chance)));
        self.unanswered = poll;
        let request = PollRequest {
            runner: self.driver.host.clone(),
            poll,
            doorbell: None,
            room: u32::try_from(room).unwrap_or(u32::MAX),
            held: self
                .held
                .iter()
                .map(|(run, driven)| Held {
                    run: *run,
                    epoch: driven.epoch,
                })
                .collect(),
            heard: self.held.values().flat_map(|driven| driven.ear.heard()).collect(),
            only: None,
            wait_ms: WAIT,
        };
        let response = self.driver.client.poll(&request).await?;
        self.unanswered = None;
        Ok(response)
    }

    fn take(&mut self, response: PollResponse) {
        for run in response.lost {
            // What drives it ends with it.
            self.held.remove(&run);
        }
        for signal in response.signals {
            if let Some(driven) = self.held.get(&signal.run) {
                driven.ear.tell([signal]);
            }
        }
        for lease in response.leases {
            let (run, epoch, ear) = (lease.run, lease.epoch, Ear::default());
            let mut work = JoinSet::new();
            work.spawn_local(self.driver.clone().drive(lease, ear.clone()));
            self.held.insert(run, Driven { epoch, ear, work });
        }
    }
}
