//! One simulation: the hosts, the way of its time, and the end it is judged by.
//!
//! Invariant: a seed decides everything. All hosts live on this thread, on paused clocks; what they draw comes from streams of
//! the seed, and nothing that is iterated over has an order of its own. Tasks are spawned locally: the order in which a runtime
//! that is dropped ends the others depends on their numbers, which count through the whole process.

use std::time::{Duration, SystemTime};

use futures::executor::block_on;
use roost_edge::{
    auth::token::TokenError,
    db::{DbError, hrana::InvalidAddress},
    edge::DEFAULT_WORKSPACE,
    error::ApiError,
};

use crate::{
    channel::Channels,
    check::{Counts, check},
    edge_host::EdgeHost,
    faults::{Faults, SOUND, Weather},
    history::{self, Acks, History},
    network::serve,
    office::set_up,
    person::{Deeds, Person},
    runner::RunnerHost,
    sender::{EDGES, Sent, send},
    store::{Sabotage, Store},
    trace::Trace,
};

/// How far time moves in one step.
const STEP: Duration = Duration::from_millis(5);
/// How long after the last fault all may take to come to rest.
const REST_WITHIN: Duration = Duration::from_secs(240);
const RUNNERS: usize = 3;

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything below.
    pub seed: u64,
    /// Messages people write.
    pub messages: u64,
    /// For how long they write, and things break.
    pub span: Duration,
    /// What breaks.
    pub weather: Weather,
    /// A defect to be found.
    pub sabotage: Sabotage,
}

impl Plan {
    /// The usual plan of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            messages: 24,
            span: Duration::from_secs(40),
            weather: Weather::Usual,
            sabotage: Sabotage::None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was counted.
    pub counts: Counts,
    /// How many faults there were.
    pub faults: usize,
    /// How much time passed, in the simulation.
    pub elapsed: Duration,
    /// The trace.
    pub trace: Trace,
    /// Broken promises; there should be none.
    pub offences: Vec<String>,
}

/// The simulation could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The store could not be made.
    #[error("SQLite can't be opened: {0}")]
    Sqlite(#[from] libsql::Error),
    /// The store can't be read.
    #[error("the store can't be read: {0}")]
    Store(#[from] DbError),
    /// The database's address is none.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The workspace could not be set up.
    #[error("the workspace can't be set up: {}", .0.problem)]
    Setup(ApiError),
    /// The runners have no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A host ended that should not.
    #[error("a host ended: {0}")]
    Host(String),
}

/// Runs a plan to its end.
///
/// # Errors
/// When it can't be run; a broken promise is none.
pub fn run(plan: Plan) -> Result<Report, SimError> {
    let (trace, acks, sent, deeds) = (
        Trace::default(),
        Acks::default(),
        Sent::default(),
        Deeds::default(),
    );
    let store = Store::new()?;
    let channels = Channels::new(plan.seed);
    let (edge, tokens) = block_on(set_up(plan.seed, &store))?;
    let scope = edge.scope(DEFAULT_WORKSPACE);
    store.sabotage(plan.sabotage);

    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(plan.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(plan.span + 2 * REST_WITHIN)
        .tick_duration(STEP)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(SOUND)
        .tcp_capacity(1024)
        .enable_random_order();
    let mut sim = builder.build();
    let servers = [
        ("database", store.router()),
        ("github", channels.github()),
        ("telegram", channels.telegram()),
    ];
    for (name, router) in servers {
        let trace = trace.clone();
        sim.host(name, move || {
            serve(name.to_owned(), router.clone(), trace.clone())
        });
    }
    let edges = EDGES.map(|name| EdgeHost::new(name, plan.seed, &trace));
    for host in edges.clone() {
        sim.host(host.name.clone(), move || host.clone().live());
    }
    for number in 0..RUNNERS {
        let host = RunnerHost::new(number, plan.seed, &tokens.runners, &acks, &trace);
        sim.host(host.name.clone(), move || host.clone().live());
    }
    let person = Person {
        token: tokens.person,
        meddles: plan.span,
        deeds: deeds.clone(),
        trace: trace.clone(),
        seed: plan.seed,
    };
    sim.host("person", move || person.clone().live());
    let sending = send(plan.seed, plan.messages, plan.span, sent.clone(), trace.clone());
    sim.client("sender", async move {
        sending.await;
        Ok(())
    });

    let clocks = edges.map(|edge| edge.skew);
    let mut faults = Faults::new(plan.seed, plan.weather, plan.span, clocks, &trace);
    let deadline = plan.span + REST_WITHIN;
    let mut look = Duration::ZERO;
    loop {
        faults.step(&mut sim);
        let all_sent = sim.step().map_err(|error| SimError::Host(error.to_string()))?;
        let now = sim.elapsed();
        if !faults.are_over(now) || !all_sent || now < look {
            continue;
        }
        if now >= deadline || block_on(history::restless(&scope))? == 0 {
            break;
        }
        look = now + Duration::from_secs(1);
    }
    let history = History {
        messages: sent.all(),
        deeds: deeds.all(),
        acks: acks.all(),
        runs: block_on(history::runs(&scope))?,
        said: channels.said(),
        panics: trace.panics(),
    };
    let (counts, offences) = check(&history);
    Ok(Report {
        seed: plan.seed,
        counts,
        faults: faults.count,
        elapsed: sim.elapsed(),
        trace,
        offences,
    })
}
