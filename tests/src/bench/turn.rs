//! turn: what a turn costs beyond the model and the tool. Runs of 20 turns with a model that answers at once and a tool
//! that does nothing, both journaled durably; what a bare call of that same model takes is subtracted.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use roost_edge::auth::token::Audience;
use roost_runner::{
    brain::{Brain, BrainConfig},
    edge_client::EdgeClient,
    fixture::{Fixture, Order, Place},
    model::{Api, Gateway, ModelConfig, ModelRequest},
    sprite::{
        Sprites,
        host::{self, HostConfig},
    },
    standin::model::{ModelServer, Script, Turn},
    tool::{Tool, ToolContext, ToolOutput, Tools},
    worker::{Worker, WorkerConfig},
};
use roost_shared::{
    effect::EffectClass,
    transcript::{Block, Message, Role},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    load::{self, Outcome, Pace},
    machine, ms,
    subject::Subject,
};
use crate::office::SECRET;

pub(super) const TURNS: usize = 20;
const RUNS: usize = 100;
const WARM_UP: usize = 5;

/// What runs of [`TURNS`] turns came to.
pub(super) struct Measured {
    /// A turn of each run on average, sorted; the model's time included.
    pub(super) turns: Vec<Duration>,
    /// What a bare call of the model takes.
    pub(super) bare: Duration,
    /// Runs that had all their turns after the edge was killed with -9.
    pub(super) whole_runs: usize,
}

/// Runs it and prints the numbers.
///
/// # Panics
/// When a run does not complete.
pub async fn run() {
    let measured = measure(WARM_UP, RUNS).await;
    let turns = Outcome {
        took: Duration::ZERO,
        latencies: measured.turns,
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
    println!("  of it the bare model {}", ms(measured.bare));
    println!(
        "  overhead per turn    {}",
        ms(whole.saturating_sub(measured.bare))
    );
    println!(
        "  after kill -9        {} of {} runs have all {TURNS} turns",
        measured.whole_runs,
        WARM_UP + RUNS
    );
}

/// Drives `runs` runs one after the other, after some whose time does not count.
pub(super) async fn measure(warm_up: usize, runs: usize) -> Measured {
    let subject = Subject::start().await;
    let script = Script::by(|asked| match asked.position {
        position if position < TURNS - 1 => Turn::call("noop", json!({})),
        _ => Turn::say("Done."),
    });
    let model = ModelServer::start(script).await.expect("a model");
    let bare = bare_call(&model).await;
    let asked_before = model.requests().len();
    let _crew = crew(&subject, &model, Tools::new().with(Noop));
    let mut turns = Vec::new();
    for number in 1..=(warm_up + runs) {
        let place = Place {
            number: u32::try_from(number).expect("small"),
            ..Place::default()
        };
        let now = subject.office.edge.now();
        let order = Order {
            secret: SECRET,
            text: "@roost go",
            id: number as u64,
            now,
            place,
            ..Order::default()
        };
        let signed = Fixture::GithubIssueComment.make(&order);
        let request = load::post(
            &subject.address,
            "/hooks/main/github",
            &signed.headers,
            &signed.body,
        );
        load::run(&subject.address, vec![request], 1, Pace::Closed).await;
        let first = asked_before + (number - 1) * TURNS + 1;
        let wait = |count| tokio::time::timeout(Duration::from_secs(20), model.received(count));
        wait(first).await.expect("the first turn");
        let began = Instant::now();
        wait(first + TURNS - 1).await.expect("the last turn");
        if number > warm_up {
            turns.push(began.elapsed() / u32::try_from(TURNS - 1).expect("small"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    turns.sort_unstable();
    let whole = subject
        .kill_and_count("SELECT count(*) FROM runs WHERE workspace_id = ?1 AND turns = 20")
        .await;
    Measured {
        turns,
        bare,
        whole_runs: usize::try_from(whole).expect("a count"),
    }
}

/// What the model alone takes, with a conversation of medium length.
async fn bare_call(model: &ModelServer) -> Duration {
    let gateway = Gateway::new(&models(model)).expect("a gateway");
    let message = Message {
        role: Role::User,
        blocks: vec![Block::Text {
            text: "x".repeat(2_000),
        }],
    };
    let request = ModelRequest {
        model: "scripted/bench".into(),
        system: ["You are a benchmark.".to_owned()].into(),
        tools: Tools::new().with(Noop).definitions().into(),
        messages: vec![message.into()],
        max_tokens: 1_000,
    };
    let mut latencies = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        gateway
            .ask(&request)
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

fn models(model: &ModelServer) -> ModelConfig {
    let mut models = ModelConfig::default();
    models
        .providers
        .insert("scripted".into(), model.provider(Api::Anthropic));
    models
}

/// A worker on the subject; it works until this is dropped.
fn crew(subject: &Subject, model: &ModelServer, tools: Tools) -> JoinSet<()> {
    let token = subject
        .office
        .token(Audience::Runner, "bench", Duration::from_secs(3600));
    let edge = EdgeClient::new(
        reqwest::Client::new(),
        &format!("http://{}", subject.address),
        &token,
    );
    let gateway = Gateway::new(&models(model)).expect("a gateway");
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

struct Noop;

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
