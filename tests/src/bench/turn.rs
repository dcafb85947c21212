//! turn: what a turn costs beyond the model and the tool. Runs of 20 turns with a model that answers at once and a tool
//! that does nothing, both journaled durably; what a bare call of that same model takes is subtracted.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use roost_edge::auth::token::Audience;
use roost_runner::{
    brain::{Brain, BrainConfig},
    edge_client::EdgeClient,
    model::{Gateway, ModelRequest},
    sprite::{
        Sprites,
        host::{self, HostConfig},
    },
    tool::{Tool, ToolContext, ToolOutput, Tools},
    worker::{Worker, WorkerConfig},
};
use roost_shared::{
    effect::EffectClass,
    transcript::{Block, Message, Role, ToolCall, ToolResult},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    load::Outcome,
    machine,
    model::{QuickModel, Says},
    ms,
    subject::Subject,
};

pub(super) const TURNS: usize = 20;
const RUNS: u32 = 100;
const WARM_UP: u32 = 5;
const BARE_CALLS: usize = 200;

/// What runs of [`TURNS`] turns took.
pub(super) struct Driven {
    /// A turn of each run on average, sorted; the model's time included.
    pub(super) turns: Vec<Duration>,
    /// What a bare call of the model takes.
    pub(super) bare: Duration,
}

/// The same, and what was left of them.
pub(super) struct Measured {
    /// What they took.
    pub(super) driven: Driven,
    /// Runs that had all their turns after the edge was killed with -9.
    pub(super) whole_runs: u32,
}

/// Runs it and prints the numbers.
///
/// # Panics
/// When a run does not complete.
pub async fn run() {
    let measured = measure(WARM_UP, RUNS).await;
    let turns = Outcome {
        took: Duration::ZERO,
        latencies: measured.driven.turns,
        refused: 0,
    };
    let whole = turns.percentile(0.5);
    println!(
        "turn · {TURNS} turns, a model that answers at once, a no-op tool, both durable · {}",
        machine()
    );
    println!(
        "  a turn               {} p50, {} p99",
        ms(whole),
        ms(turns.percentile(0.99))
    );
    println!("  of it the bare model {}", ms(measured.driven.bare));
    println!(
        "  overhead per turn    {}",
        ms(whole.saturating_sub(measured.driven.bare))
    );
    println!(
        "  after kill -9        {} of {} runs have all {TURNS} turns",
        measured.whole_runs,
        WARM_UP + RUNS
    );
}

/// Drives runs on an edge of its own, and counts them after it was killed.
pub(super) async fn measure(warm_up: u32, runs: u32) -> Measured {
    let subject = Subject::start().await;
    let driven = drive(&subject, 1..1 + warm_up, 1 + warm_up..1 + warm_up + runs).await;
    let whole = subject
        .kill_and_count("SELECT count(*) FROM runs WHERE workspace_id = ?1 AND turns = 20")
        .await;
    Measured {
        driven,
        whole_runs: u32::try_from(whole).expect("a count"),
    }
}

/// Drives one run per number, one after the other; the time of the first ones does not count.
pub(super) async fn drive(subject: &Subject, warm_up: Range<u32>, counted: Range<u32>) -> Driven {
    let model = QuickModel::start(|asked| match asked.position {
        position if position < TURNS - 1 => Says::Noop,
        _ => Says::Done,
    })
    .await;
    let bare = bare_call(&model, 0).await;
    let asked_before = model.asked();
    let _crew = crew(subject, &model, Tools::new().with(Noop));
    let mut turns = Vec::new();
    for (place, number) in warm_up.clone().chain(counted.clone()).enumerate() {
        subject.say(number..number + 1, "@roost go").await;
        let first = asked_before + place * TURNS + 1;
        let wait = |count| tokio::time::timeout(Duration::from_secs(20), model.asked_times(count));
        wait(first).await.expect("the first turn");
        let began = Instant::now();
        wait(first + TURNS - 1).await.expect("the last turn");
        if counted.contains(&number) {
            turns.push(began.elapsed() / u32::try_from(TURNS - 1).expect("small"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    turns.sort_unstable();
    Driven { turns, bare }
}

/// What the model alone takes, with a conversation of medium length and so many turns more.
pub(super) async fn bare_call(model: &QuickModel, turns: usize) -> Duration {
    let gateway = Gateway::new(&model.config()).expect("a gateway");
    let said = |role, block| Message {
        role,
        blocks: vec![block],
    };
    let text = "x".repeat(2_000);
    let mut messages = vec![said(Role::User, Block::Text { text }).into()];
    for turn in 0..turns {
        let (id, name) = (format!("call_{turn}"), "noop".to_owned());
        let result = ToolResult {
            call: id.clone(),
            text: "nothing".into(),
            is_error: false,
        };
        let input = json!({"n": turn});
        let call = Block::ToolCall(ToolCall { id, name, input });
        messages.push(said(Role::Assistant, call).into());
        messages.push(said(Role::User, Block::ToolResult(result)).into());
    }
    let request = ModelRequest {
        model: "scripted/bench".into(),
        system: ["You are a benchmark.".to_owned()].into(),
        tools: Tools::new().with(Noop).definitions().into(),
        messages,
        max_tokens: 1_000,
    };
    let mut latencies = Vec::new();
    for _ in 0..BARE_CALLS {
        let request = request.clone();
        let began = Instant::now();
        gateway
            .ask(request)
            .await
            .expect("an answer")
            .answer(|_| {})
            .await
            .expect("a whole answer");
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

/// A worker on the subject, with nothing but these tools; it works until this is dropped.
pub(super) fn crew(subject: &Subject, model: &QuickModel, tools: Tools) -> JoinSet<()> {
    let token = subject
        .office
        .token(Audience::Runner, "bench", Duration::from_secs(3600));
    let edge = EdgeClient::new(
        reqwest::Client::new(),
        &format!("http://{}", subject.address),
        &token,
    );
    let gateway = Gateway::new(&model.config()).expect("a gateway");
    let mut crew = JoinSet::new();
    crew.spawn(async move {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let sprites = Sprites::new(&base, "bench").expect("an address");
        let serving = host::serve(
            listener,
            HostConfig::new(directory.path(), "bench", crate::roost::binary()),
            std::future::pending(),
        );
        let config = WorkerConfig {
            name: "bench".into(),
            slots: 16,
            doorbell: None,
            tick: Duration::from_secs(1),
            grace: Duration::ZERO,
        };
        let brain = Brain::new(BrainConfig::default(), edge.clone(), gateway, tools, sprites);
        let worker = Worker::new(config, edge, std::sync::Arc::new(brain));
        let (served, worked) = tokio::join!(serving, worker.run(std::future::pending()));
        served.expect("the sprite host serves");
        worked.expect("the worker works");
    });
    crew
}

/// Does nothing, durably.
pub(super) struct Noop;

#[async_trait]
impl Tool for Noop {
    fn name(&self) -> &str {
        "noop"
    }

    fn description(&self) -> &str {
        "Does nothing."
    }

    fn input_schema(&self) -> Value {
        json!({"type": "object", "properties": {}})
    }

    fn effect_class(&self) -> EffectClass {
        EffectClass::Idempotent
    }

    async fn call(&self, _: &ToolContext, _: Value) -> ToolOutput {
        ToolOutput::ok("nothing")
    }
}
