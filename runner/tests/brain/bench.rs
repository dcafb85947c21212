//! What the tests of the loop stand on: a journal in memory that can fail at any append, tools that count, a scripted model.

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
    model::{Api, Gateway, ModelConfig},
    sprite::{
        Sprites,
        host::{self, HostConfig},
    },
    standin::model::{ModelServer, Script},
    tool::{Tool, ToolContext, ToolOutput, Tools},
    worker::{Control, Drain, Driver},
};
use roost_shared::{
    AgentId, IntegrationId, RunId, SignalId, UnixMillis, WorkItemId,
    agent::{AgentSpec, LaneRules, RunLimits},
    effect::EffectClass,
    event::{Event, EventBody},
    question::{Choice, Decision},
    run::RunState,
    sprite::SpriteOwner,
    transcript::ToolResult,
    wire::{AppendRequest, AppendResponse, Lease, Signal, SignalBody},
    work::{Actor, Conversation, ReplyTo, Trust, WorkItem},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

pub(crate) const RANDOM: [u8; 10] = [1; 10];

pub(crate) fn run_id() -> RunId {
    RunId::new(UnixMillis(1), RANDOM)
}

/// How the store fails at one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Before anything is stored.
    Before,
    /// After it is stored, before the answer arrives.
    After,
}

/// Something that happens to a journal.
pub(crate) type Late = Box<dyn FnOnce(&Memory) + Send>;

/// A journal in memory. Its `crash` happens once, at the append of that number; later appends of that driver fail too.
pub(crate) struct Memory {
    signals: Mutex<Vec<Signal>>,
    /// What happens just before the run completes or pauses, once.
    pub(crate) late: Mutex<Option<Late>>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) appends: AtomicU32,
    pub(crate) crash: Mutex<Option<(u32, Crash)>>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
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
                reply_to: ReplyTo::Generic {
                    conversation: "bench".to_owned(),
                    event: "bench".to_owned(),
                },
                received_at: UnixMillis(1),
            }),
            agent: AgentId::new(UnixMillis(1), RANDOM),
            agent_version: 1,
        };
        let memory = Self {
            signals: Mutex::default(),
            late: Mutex::default(),
            events: Mutex::default(),
            appends: AtomicU32::new(0),
            crash: Mutex::default(),
        };
        memory.push(0, opened);
        Arc::new(memory)
    }

    pub(crate) fn push(&self, epoch: u64, body: EventBody) {
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
    pub(crate) fn lease(&self, agent: &AgentSpec) -> Lease {
        let epoch = self.epoch() + 1;
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
            sprite: match agent.sprite {
                SpriteOwner::Agent => "agent-1".into(),
                SpriteOwner::Run => SpriteOwner::Run.sprite(agent.id, run_id()),
            },
            git_origin: None,
            journal: self.events.lock().unwrap().clone(),
            history: Vec::new(),
            signals: self.signals.lock().unwrap().clone(),
        }
    }

    /// A person answers the open question, as the edge would write it.
    pub(crate) fn answer(&self, choice: Choice) {
        self.push(self.epoch(), EventBody::Resumed { by: "a user".into() });
        let decision = Decision {
            choice: Some(choice),
            by: "a user".into(),
            text: String::new(),
        };
        self.signal(Signal {
            id: SignalId::new(UnixMillis(1), [self.epoch() as u8; 10]),
            run: run_id(),
            body: SignalBody::Answer { decision },
        });
    }

    fn epoch(&self) -> u64 {
        self.events.lock().unwrap().last().unwrap().epoch
    }

    /// Another work item than the usual one.
    pub(crate) fn change_work_item(&self, change: impl FnOnce(&mut WorkItem)) {
        if let EventBody::Opened { work_item, .. } = &mut self.events.lock().unwrap()[0].body {
            change(work_item);
        }
    }

    /// What the next appends are answered with.
    pub(crate) fn take_back(&self) {
        self.signals.lock().unwrap().clear();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.signals.lock().unwrap().push(signal);
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|event| event.body.kind())
            .collect()
    }

    pub(crate) fn last(&self) -> EventBody {
        self.events.lock().unwrap().last().unwrap().body.clone()
    }

    pub(crate) fn state(&self) -> RunState {
        RunState::fold(&*self.events.lock().unwrap()).unwrap()
    }

    pub(crate) fn results(&self) -> Vec<ToolResult> {
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
        if let Some(EventBody::Completed { .. } | EventBody::Paused { .. }) = request.events.last()
            && let Some(late) = self.late.lock().unwrap().take()
        {
            late(self);
        }
        let taken: Vec<_> = request.events.iter().filter_map(EventBody::signal).collect();
        {
            let mut signals = self.signals.lock().unwrap();
            let pauses = matches!(request.events.last(), Some(EventBody::Paused { .. }));
            if pauses && signals.iter().all(|signal| signal.body.kind() != "pause") {
                let problem =
                    roost_shared::problem::Problem::new("signal_withdrawn", "the pause was taken back");
                return Err(EdgeError::Refused(problem));
            }
            signals.retain(|signal| !taken.contains(&signal.id));
            let ends = matches!(
                request.events.last(),
                Some(EventBody::Completed { .. } | EventBody::Asked { .. })
            );
            if ends && signals.iter().any(|signal| signal.body.kind() == "steer") {
                return Ok(AppendResponse {
                    next_seq: request.expected_seq,
                    signals: signals.clone(),
                });
            }
        }
        for event in &request.events {
            self.push(request.epoch, event.clone());
        }
        if crash == Some(Crash::After) {
            return Err(EdgeError::StaleLease);
        }
        Ok(AppendResponse {
            next_seq: request.expected_seq + request.events.len() as u64,
            signals: self.signals.lock().unwrap().clone(),
        })
    }
}

/// A tool that counts its calls and says how many there were.
pub(crate) struct Counter {
    pub(crate) name: &'static str,
    pub(crate) class: EffectClass,
    pub(crate) calls: Arc<Mutex<BTreeMap<String, u32>>>,
    pub(crate) hold: Option<Arc<Notify>>,
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
pub(crate) struct Bench {
    pub(crate) model: ModelServer,
    pub(crate) agent: AgentSpec,
    pub(crate) config: BrainConfig,
    pub(crate) models: ModelConfig,
    pub(crate) tools: Tools,
    pub(crate) calls: Arc<Mutex<BTreeMap<String, u32>>>,
    pub(crate) sprites: Sprites,
    /// The sprite host's address.
    pub(crate) host: String,
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new(script: Script) -> Self {
        let model = ModelServer::start(script).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let config = HostConfig::new(directory.path(), "token", env!("CARGO_BIN_EXE_roost"));
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
                sprite: SpriteOwner::Agent,
                lane: LaneRules::default(),
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
            host: base,
            _directory: directory,
        }
    }

    /// The sprite host, reached with a token of one's choice.
    pub(crate) fn sprites_with_token(&self, token: &str) -> Sprites {
        Sprites::new(&self.host, token).unwrap()
    }

    pub(crate) fn brain(&self, memory: &Arc<Memory>) -> Brain {
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
    pub(crate) async fn drive(&self, memory: &Arc<Memory>) {
        self.drive_by(&self.brain(memory), memory).await;
    }

    /// Drives one lease to its end.
    pub(crate) async fn drive_by(&self, brain: &Brain, memory: &Arc<Memory>) {
        let (_signals, hears) = mpsc::unbounded_channel();
        let (_drain, drain) = watch::channel(Drain::No);
        let control = Control {
            signals: hears,
            drain,
        };
        let driving = brain.drive(memory.lease(&self.agent), control);
        tokio::time::timeout(Duration::from_secs(20), driving)
            .await
            .expect("the run ends");
    }
}
