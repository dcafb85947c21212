//! The loop against the stand-in model, with a journal in memory that can fail at any append.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use roost_runner::{
    brain::{Brain, BrainConfig, Store},
    edge_client::EdgeError,
    model::{Api, Gateway, ModelConfig, ModelSettings},
    sprite::{
        Sprites,
        host::{self, HostConfig},
    },
    standin::model::{Fault, ModelServer, Script, Turn},
    tool::{Tool, ToolContext, ToolOutput, Tools},
    worker::{Control, Driver},
};
use roost_shared::{
    AgentId, IntegrationId, MicroUsd, RunId, SignalId, UnixMillis, WorkItemId,
    agent::{AgentSpec, RunLimits},
    effect::EffectClass,
    event::{Event, EventBody},
    run::{INTERRUPTED, RunState},
    transcript::{ToolResult, Usage},
    wire::{AppendRequest, AppendResponse, Lease, Signal, SignalBody},
    work::{Actor, Conversation, ReplyTo, Trust, WorkItem},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

const RANDOM: [u8; 10] = [1; 10];

fn run_id() -> RunId {
    RunId::new(UnixMillis(1), RANDOM)
}

/// How the store fails at one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// Before anything is stored.
    Before,
    /// After it is stored, before the answer arrives.
    After,
}

/// A journal in memory. Its `crash` happens once, at the append of that number; later appends of that driver fail too.
struct Memory {
    events: Mutex<Vec<Event>>,
    appends: AtomicU32,
    crash: Mutex<Option<(u32, Crash)>>,
}

impl Memory {
    fn new() -> Arc<Self> {
        let opened = EventBody::Opened {
            work_item: Box::new(WorkItem {
                id: WorkItemId::new(UnixMillis(1), RANDOM),
                integration: IntegrationId::new(UnixMillis(1), RANDOM),
                kind: "issue_comment.created".into(),
                actor: Actor {
                    id: "1".into(),
                    name: "a user".into(),
                    trust: Trust::Member,
                },
                conversation: Conversation {
                    key: "o/r#1".into(),
                    title: "A bug".into(),
                    url: None,
                },
                text: "please fix it".into(),
                context: Vec::new(),
                reply_to: ReplyTo::Generic,
                received_at: UnixMillis(1),
            }),
            agent: AgentId::new(UnixMillis(1), RANDOM),
            agent_version: 1,
        };
        let memory = Self {
            events: Mutex::default(),
            appends: AtomicU32::new(0),
            crash: Mutex::default(),
        };
        memory.push(0, opened);
        Arc::new(memory)
    }

    fn push(&self, epoch: u64, body: EventBody) {
        let mut events = self.events.lock().unwrap();
        let seq = events.len() as u64;
        events.push(Event {
            seq,
            epoch,
            at: UnixMillis(1),
            body,
        });
    }

    /// A lease as the edge would give it next.
    fn lease(&self, agent: &AgentSpec) -> Lease {
        let epoch = self.events.lock().unwrap().last().unwrap().epoch + 1;
        self.push(
            epoch,
            EventBody::Leased {
                runner: "tests".into(),
            },
        );
        Lease {
            run: run_id(),
            epoch,
            agent: agent.clone(),
            sprite: "agent-1".into(),
            journal: self.events.lock().unwrap().clone(),
            history: Vec::new(),
        }
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|event| event.body.kind())
            .collect()
    }

    fn last(&self) -> EventBody {
        self.events.lock().unwrap().last().unwrap().body.clone()
    }

    fn state(&self) -> RunState {
        RunState::fold(&*self.events.lock().unwrap()).unwrap()
    }

    fn results(&self) -> Vec<ToolResult> {
        let events = self.events.lock().unwrap();
        let result = |event: &Event| match &event.body {
            EventBody::ToolFinished { result, .. } => Some(result.clone()),
            _ => None,
        };
        events.iter().filter_map(result).collect()
    }
}

#[async_trait]
impl Store for Memory {
    async fn append(&self, _: RunId, request: &AppendRequest) -> Result<AppendResponse, EdgeError> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst);
        let crash = match *self.crash.lock().unwrap() {
            Some((at, crash)) if number == at => Some(crash),
            Some((at, _)) if number > at => return Err(EdgeError::StaleLease),
            _ => None,
        };
        if crash == Some(Crash::Before) {
            return Err(EdgeError::StaleLease);
        }
        let current = self
            .events
            .lock()
            .unwrap()
            .last()
            .map(|event| (event.seq + 1, event.epoch))
            .unwrap();
        assert_eq!(current, (request.expected_seq, request.epoch));
        for event in &request.events {
            self.push(request.epoch, event.clone());
        }
        if crash == Some(Crash::After) {
            return Err(EdgeError::StaleLease);
        }
        Ok(AppendResponse {
            next_seq: request.expected_seq + request.events.len() as u64,
            signals: Vec::new(),
        })
    }
}

/// A tool that counts its calls and says how many there were.
struct Counter {
    name: &'static str,
    class: EffectClass,
    calls: Arc<Mutex<BTreeMap<String, u32>>>,
    hold: Option<Arc<Notify>>,
}

#[async_trait]
impl Tool for Counter {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        "Counts."
    }

    fn input_schema(&self) -> Value {
        json!({"type": "object", "properties": {"n": {"type": "integer"}}})
    }

    fn effect_class(&self) -> EffectClass {
        self.class
    }

    async fn call(&self, context: &ToolContext, _: Value) -> ToolOutput {
        *self
            .calls
            .lock()
            .unwrap()
            .entry(context.call().to_owned())
            .or_default() += 1;
        if let Some(hold) = &self.hold {
            hold.notified().await;
        }
        ToolOutput::ok(format!("{} done", self.name))
    }
}

/// Everything a run needs, with a sprite host of its own.
struct Bench {
    model: ModelServer,
    agent: AgentSpec,
    config: BrainConfig,
    models: ModelConfig,
    tools: Tools,
    calls: Arc<Mutex<BTreeMap<String, u32>>>,
    sprites: Sprites,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new(script: Script) -> Self {
        let model = ModelServer::start(script).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let config = HostConfig::new(directory.path(), "token");
        tokio::spawn(async move {
            host::serve(listener, config, std::future::pending())
                .await
                .unwrap();
        });
        let mut models = ModelConfig::default();
        models
            .providers
            .insert("scripted".into(), model.provider(Api::Anthropic));
        let calls = Arc::default();
        let tool = |name, class| Counter {
            name,
            class,
            calls: Arc::clone(&calls),
            hold: None,
        };
        let tools = Tools::new()
            .with(tool("look", EffectClass::Pure))
            .with(tool("act", EffectClass::AtMostOnce));
        Self {
            model,
            agent: AgentSpec {
                id: AgentId::new(UnixMillis(1), RANDOM),
                version: 1,
                handle: "ada".into(),
                name: "Ada".into(),
                persona: String::new(),
                model: "scripted/scripted".into(),
                tools: Vec::new(),
                limits: RunLimits::default(),
            },
            config: BrainConfig {
                first_retry: Duration::from_millis(1),
                ..BrainConfig::default()
            },
            models,
            tools,
            calls,
            sprites: Sprites::new(&base, "token").unwrap(),
            _directory: directory,
        }
    }

    fn brain(&self, memory: &Arc<Memory>) -> Brain {
        let gateway = Gateway::new(&self.models).unwrap();
        Brain::with_store(
            self.config.clone(),
            memory.clone(),
            gateway,
            self.tools.clone(),
            self.sprites.clone(),
        )
    }

    /// Drives one lease to its end.
    async fn drive(&self, memory: &Arc<Memory>) {
        let (_signals, hears) = mpsc::unbounded_channel();
        let (_drain, drain) = watch::channel(false);
        let control = Control {
            signals: hears,
            drain,
        };
        let driving = self.brain(memory).drive(memory.lease(&self.agent), control);
        tokio::time::timeout(Duration::from_secs(20), driving)
            .await
            .expect("the run ends");
    }
}

fn work() -> Script {
    Script::turns(vec![
        Turn::call("look", json!({"n": 1}))
            .and_call("look", json!({"n": 2}))
            .and_call("act", json!({"n": 3})),
        Turn::say("Next.")
            .and_call("act", json!({"n": 4}))
            .and_call("look", json!({"n": 5})),
        Turn::say("All done."),
    ])
}

#[tokio::test]
async fn a_run_thinks_works_and_completes_with_as_few_appends_as_there_are_steps() {
    let bench = Bench::new(work()).await;
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(
        memory.last(),
        EventBody::Completed {
            reply: Some("All done.".into())
        }
    );
    assert_eq!(
        memory.kinds()[2..],
        [
            "model_answered",
            "tool_started",
            "tool_started",
            "tool_finished",
            "tool_finished",
            "tool_started",
            "tool_finished",
            "model_answered",
            "tool_started",
            "tool_finished",
            "tool_started",
            "tool_finished",
            "model_answered",
            "completed",
        ]
    );
    // Two turns of two steps: three appends each; the last answer and the completion.
    assert_eq!(memory.appends.load(Ordering::SeqCst), 8);
    assert_eq!(
        bench.calls.lock().unwrap().values().copied().collect::<Vec<_>>(),
        [1; 5]
    );
}

#[tokio::test]
async fn a_crash_at_any_append_repeats_no_recorded_answer_and_no_call_that_must_not_be_repeated() {
    for crash in [Crash::Before, Crash::After] {
        for at in 0..8 {
            let bench = Bench::new(work()).await;
            let memory = Memory::new();
            *memory.crash.lock().unwrap() = Some((at, crash));
            bench.drive(&memory).await;
            let answers_before = memory
                .kinds()
                .iter()
                .filter(|kind| **kind == "model_answered")
                .count();
            let asked_before = bench.model.requests().len();
            *memory.crash.lock().unwrap() = None;
            // A run that has ended is leased to nobody.
            if !memory.state().phase.is_terminal() {
                bench.drive(&memory).await;
            }

            let case = format!("crash {crash:?} append {at}: {:?}", memory.kinds());
            assert_eq!(
                memory.last(),
                EventBody::Completed {
                    reply: Some("All done.".into())
                },
                "{case}"
            );
            let asked_after = bench.model.requests().len() - asked_before;
            assert_eq!(
                asked_after,
                3 - answers_before,
                "each recorded answer is asked for once; {case}"
            );
            let acted = memory
                .results()
                .iter()
                .filter(|result| result.text == "act done")
                .count();
            let torn = memory
                .results()
                .iter()
                .filter(|result| result.text == INTERRUPTED)
                .count();
            assert_eq!(acted + torn, 2, "{case}");
            let calls = bench.calls.lock().unwrap();
            let twice: Vec<_> = calls.iter().filter(|(_, times)| **times > 1).collect();
            assert!(
                twice.len() <= 2,
                "only looks of one step are repeated: {twice:?}; {case}"
            );
            assert_eq!(memory.state().turns, 3, "{case}");
        }
    }
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_written_down() {
    let bench = Bench::new(work()).await;
    bench.model.fail_next(Fault::Overloaded);
    bench.model.fail_next(Fault::Cut { after: 300 });
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(
        memory.kinds()[2..5],
        ["model_failed", "model_failed", "model_answered"]
    );
    assert!(matches!(memory.last(), EventBody::Completed { .. }));
}

#[tokio::test]
async fn a_long_wait_parks_the_run_and_a_lasting_failure_ends_it() {
    let bench = Bench::new(work()).await;
    bench.model.fail_next(Fault::RateLimit {
        retry_after: Some(Duration::from_secs(3600)),
    });
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(memory.kinds()[2..], ["model_failed", "parked"]);

    let memory = Memory::new();
    bench.model.fail_next(Fault::RefuseKey);
    bench.drive(&memory).await;
    let EventBody::Failed { code, message } = memory.last() else {
        panic!("{:?}", memory.kinds())
    };
    assert_eq!(code, "model_key_refused");
    assert!(message.contains("key"), "{message}");
}

#[tokio::test]
async fn limits_on_turns_and_money_hold() {
    let mut bench = Bench::new(work()).await;
    bench.agent.limits.max_turns = 1;
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert!(matches!(memory.last(), EventBody::Failed { code, .. } if code == "turn_limit"));

    bench.agent.limits = RunLimits {
        max_cost: MicroUsd(1),
        ..RunLimits::default()
    };
    let priced = serde_json::from_value(
        json!({"price": {"input": 1_000_000, "output": 1_000_000, "cache_read": 0, "cache_write": 0}}),
    );
    bench.models.models.insert(
        "scripted/scripted".into(),
        priced.unwrap_or(ModelSettings::default()),
    );
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert!(
        matches!(memory.last(), EventBody::Failed { code, .. } if code == "cost_limit"),
        "{:?}",
        memory.last()
    );
}

#[tokio::test]
async fn a_cancel_ends_a_turn_at_once_and_a_drain_gives_the_run_back() {
    let mut bench = Bench::new(work()).await;
    let hold = Arc::new(Notify::new());
    let held = Counter {
        name: "act",
        class: EffectClass::AtMostOnce,
        calls: bench.calls.clone(),
        hold: Some(hold.clone()),
    };
    bench.tools = bench.tools.with(held);
    let memory = Memory::new();
    let (signals, hears) = mpsc::unbounded_channel();
    let (drain, draining) = watch::channel(false);
    let driving = tokio::spawn(bench.brain(&memory).drive(
        memory.lease(&bench.agent),
        Control {
            signals: hears,
            drain: draining.clone(),
        },
    ));
    while bench.calls.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    let cancel = SignalBody::Cancel { by: "a user".into() };
    signals
        .send(Signal {
            id: SignalId::new(UnixMillis(1), RANDOM),
            run: run_id(),
            body: cancel,
        })
        .unwrap();
    driving.await.unwrap();
    assert_eq!(memory.last(), EventBody::Cancelled { by: "a user".into() });

    drain.send(true).unwrap();
    let memory = Memory::new();
    let (_signals, hears) = mpsc::unbounded_channel();
    bench
        .brain(&memory)
        .drive(
            memory.lease(&bench.agent),
            Control {
                signals: hears,
                drain: draining,
            },
        )
        .await;
    assert_eq!(memory.kinds()[2..], ["released"]);
}

#[tokio::test]
async fn a_full_window_is_summarised_and_the_run_goes_on() {
    let full = Usage {
        input: 190_000,
        output: 10,
        ..Usage::default()
    };
    let script = Script::by(move |asked| {
        let last = asked.last_text();
        if last.contains("Write a summary") {
            Turn::say("I was to fix it; two looks done.")
        } else if last.contains("summary of yours") {
            Turn::say("Fixed.")
        } else {
            Turn::call("look", json!({"n": 1})).using(full)
        }
    });
    let mut bench = Bench::new(script).await;
    bench.models.models.insert(
        "scripted/scripted".into(),
        ModelSettings {
            window: Some(200_000),
            price: None,
        },
    );
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(
        memory.kinds()[2..],
        [
            "model_answered",
            "tool_started",
            "tool_finished",
            "compacted",
            "model_answered",
            "completed"
        ]
    );
}
