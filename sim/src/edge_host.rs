//! An edge as a simulated host: the real core and the real database client on ports of the simulation.
//!
//! Invariant: nothing the core does reaches past its ports, so time, chance and network are the simulation's; a boot begins
//! with an empty memory, as a process does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use roost_edge::{
    auth::keys::MasterKey,
    db::hrana::{HranaDatabase, InvalidAddress, RelayedDatabase},
    edge::{Edge, PrivateAddresses, Settings},
    ports::{Background, Clock, HttpClient, Ports},
};
use roost_shared::UnixMillis;

use crate::{
    chance::{Chance, SharedChance},
    network::{Network, serve},
    trace::Trace,
};

/// The moment at which every simulation begins: 2026-01-01, in milliseconds since 1970.
const BEGINNING: i64 = 1_767_225_600_000;
/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(6);
/// Until when a call to a channel is over: it is given up after [`CHANNEL`] and begun within half of this.
const SEND_WITHIN: Duration = Duration::from_secs(12);
/// How long an edge waits for a channel.
const CHANNEL: Duration = Duration::from_secs(4);
/// How long an edge waits for its database.
const DATABASE: Duration = Duration::from_secs(5);

/// How far an edge's clock is off, in milliseconds; outlives the edge's process.
#[derive(Debug, Clone, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Sets the clock.
    pub fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

/// An edge's host: what outlives its process.
#[derive(Debug, Clone)]
pub struct EdgeHost {
    /// Its name in the network.
    pub name: String,
    /// Its clock.
    pub skew: Skew,
    seed: u64,
    boots: Arc<AtomicU64>,
    trace: Trace,
}

impl EdgeHost {
    /// The host of this name in the simulation of a seed.
    pub fn new(name: &str, seed: u64, trace: &Trace) -> Self {
        Self {
            name: name.to_owned(),
            skew: Skew::default(),
            seed,
            boots: Arc::default(),
            trace: trace.clone(),
        }
    }

    /// One life of its process.
    ///
    /// # Errors
    /// When the simulation is put together wrongly.
    pub async fn live(self) -> turmoil::Result {
        let boot = self.boots.fetch_add(1, Ordering::SeqCst);
        self.trace.note(&self.name, &format!("boots, life {boot}"));
        let network = Network::new(&self.name, CHANNEL, &self.trace);
        let chance = Chance::new(self.seed, &format!("{}/{boot}", self.name));
        let edge = edge(
            Arc::new(network.patient(DATABASE)),
            Arc::new(network),
            chance,
            self.skew.clone(),
        )?;
        serve(self.name, edge.router(), self.trace).await
    }
}

/// An edge whose database is reached by `database` and whose channels by `channels`.
///
/// # Errors
/// Never: the address is a good one.
pub fn edge(
    database: Arc<dyn HttpClient>,
    channels: Arc<dyn HttpClient>,
    chance: Chance,
    skew: Skew,
) -> Result<Arc<Edge>, InvalidAddress> {
    let (clock, random) = (
        Arc::new(SimulatedClock(skew)),
        Arc::new(SharedChance::new(chance)),
    );
    let server = HranaDatabase::new(database, clock.clone(), random.clone(), "http://database", None)?;
    let ports = Ports {
        database: Arc::new(RelayedDatabase::new(server)),
        http: channels,
        clock,
        random,
        background: Arc::new(SimulatedBackground),
    };
    let settings = Settings {
        lease: LEASE,
        send_within: SEND_WITHIN,
        // Faults come thicker here than any run could bear by the usual measure.
        crash_limit: 1_000,
        private_addresses: PrivateAddresses::Allowed,
        ..Settings::new("http://edge-0")
    };
    Ok(Edge::new(ports, settings, &MasterKey::from_bytes([5; 32])))
}

struct SimulatedClock(Skew);

/// What a clock says that is not off.
pub fn true_time() -> UnixMillis {
    let since = turmoil::sim_elapsed().unwrap_or_default().as_millis();
    UnixMillis(BEGINNING + i64::try_from(since).unwrap_or(i64::MAX))
}

impl Clock for SimulatedClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(true_time().0 + self.0.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

struct SimulatedBackground;

impl Background for SimulatedBackground {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        // A process that is being killed begins nothing.
        if tokio::runtime::Handle::try_current().is_ok() {
            tokio::task::spawn_local(work);
        }
    }
}
