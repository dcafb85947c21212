//! The world the steps happen in, and what holds in it at every moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::StatusCode;
use roost_edge::{db::Scope, edge::DEFAULT_WORKSPACE, ports::Clock, runs::control};
use roost_shared::{
    RunId, UnixMillis,
    agent::LaneMode,
    event::{Event, EventBody},
    question::{Choice, Decision},
    run::{Phase, RunState, Waits},
};
use serde_json::{Value, json};

use crate::{
    common::{self, TestEdge, lane, signed, signed_by_member},
    steps::{Act, Deed, Step},
};

/// A clock that stands until it is moved.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// A lease as its runner believes in it.
#[derive(Debug, Clone)]
struct Believed {
    run: String,
    epoch: u64,
    next_seq: u64,
    signals: Vec<Value>,
}

pub(crate) struct World {
    t: TestEdge,
    hands: Arc<Hands>,
    scope: Scope,
    said: Vec<(String, String, bool)>,
    leases: [Vec<Believed>; 2],
    runs: Vec<RunId>,
}

impl World {
    pub(crate) async fn new(mode: LaneMode, debounce: u32) -> Self {
        let hands = Arc::new(Hands(AtomicI64::new(common::real_now())));
        let t = TestEdge::on_clock(hands.clone(), |settings| settings.crash_limit = 3).await;
        t.hire("ada", lane(mode, debounce)).await;
        let scope = t.edge.scope(DEFAULT_WORKSPACE);
        Self {
            t,
            hands,
            scope,
            said: Vec::new(),
            leases: [Vec::new(), Vec::new()],
            runs: Vec::new(),
        }
    }

    fn pass(&self, span: i64) {
        self.hands.0.fetch_add(span, Ordering::SeqCst);
    }

    async fn say(&mut self, id: &str, conversation: &str, member: bool) -> Value {
        let request = match member {
            true => signed_by_member(id, conversation, id),
            false => signed(id, conversation, id),
        };
        let (status, received) = self.t.call(request).await;
        assert_eq!(status, StatusCode::OK, "{received}");
        received
    }

    pub(crate) async fn step(&mut self, step: &Step) {
        self.pass(2);
        match step {
            Step::Say { conversation, member } => {
                let id = format!("m{}", self.said.len());
                let conversation = format!("c{conversation}");
                let received = self.say(&id, &conversation, *member).await;
                let run: RunId = received["runs"][0].as_str().unwrap().parse().unwrap();
                if !self.runs.contains(&run) {
                    self.runs.push(run);
                }
                self.said.push((id, conversation, *member));
            }
            Step::SayAgain => {
                if let Some((id, conversation, member)) = self.said.last().cloned() {
                    assert_eq!(self.say(&id, &conversation, member).await["verdict"], "duplicate");
                }
            }
            Step::Poll { runner } => self.poll(*runner).await,
            Step::Outage => self.pass(200_000),
            Step::Tick => {
                self.t.runner("/tick", json!({})).await;
            }
            Step::Act { runner, lease, act } => self.act(*runner, *lease, *act).await,
            Step::Person { run, deed } => self.person(*run, *deed).await,
        }
    }

    async fn poll(&mut self, runner: usize) {
        let held: Vec<_> = self.leases[runner]
            .iter()
            .map(|lease| json!({"run": lease.run, "epoch": lease.epoch}))
            .collect();
        let body = json!({"runner": format!("r{runner}"), "room": 2, "held": held});
        let (status, answer) = self.t.runner("/poll", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let leases = &mut self.leases[runner];
        let lost = answer["lost"].as_array().unwrap();
        leases.retain(|lease| !lost.contains(&json!(lease.run)));
        for lease in answer["leases"].as_array().unwrap() {
            leases.retain(|held| lease["run"] != held.run);
            leases.push(Believed {
                run: lease["run"].as_str().unwrap().to_owned(),
                epoch: lease["epoch"].as_u64().unwrap(),
                next_seq: lease["journal"].as_array().unwrap().len() as u64,
                signals: lease["signals"].as_array().unwrap().clone(),
            });
        }
        for lease in leases {
            let told = answer["signals"].as_array().unwrap().iter();
            lease.hear(
                told.filter(|signal| signal["run"] == lease.run)
                    .cloned()
                    .collect(),
            );
        }
    }

    async fn act(&mut self, runner: usize, lease: usize, act: Act) {
        let count = self.leases[runner].len();
        if count == 0 {
            return;
        }
        let now = self.t.edge.now().0;
        let believed = self.leases[runner][lease % count].clone();
        let question = json!({"call": "c", "text": "?", "options": ["done", "skip"]});
        let usage = json!({"input": 1, "output": 1, "cache_read": 0, "cache_write": 0});
        let events = match act {
            Act::Answer => {
                json!([{"type": "model_answered", "model": "m", "blocks": [{"type": "text", "text": "x"}],
                "stop": "end_turn", "usage": usage, "cost": 1, "first_byte_ms": 1, "took_ms": 1}])
            }
            Act::TakeIn => believed.taken_in(),
            Act::Complete => json!([{"type": "completed", "reply": "x"}]),
            Act::Fail => json!([{"type": "failed", "code": "x", "message": "x"}]),
            Act::Park => json!([{"type": "parked", "until": now, "reason": "x"}]),
            Act::Release => json!([{"type": "released", "reason": "x"}]),
            Act::Ask => json!([{"type": "asked", "question": question, "until": now + 500_000}]),
            Act::Pause => json!([{"type": "paused", "by": "x", "until": now + 500_000}]),
        };
        if events == json!([]) {
            return;
        }
        let count = events.as_array().unwrap().len() as u64;
        let stale = self.epoch(&believed.run).await != believed.epoch;
        let body = json!({"epoch": believed.epoch, "expected_seq": believed.next_seq, "events": events});
        let (status, answer) = self
            .t
            .runner(&format!("/runs/{}/events", believed.run), body)
            .await;
        assert!(
            matches!(status, StatusCode::OK | StatusCode::CONFLICT),
            "{answer}"
        );
        if stale {
            assert_eq!(
                answer["error"]["code"], "stale_lease",
                "{act:?} under an old lease"
            );
        }
        let leases = &mut self.leases[runner];
        let place = leases.iter().position(|lease| lease.run == believed.run).unwrap();
        match answer["next_seq"].as_u64() {
            // Nothing was written: there is something to hear first.
            Some(next) if next == believed.next_seq => {
                assert!(matches!(act, Act::Complete | Act::Ask), "{act:?}");
                assert_ne!(answer["signals"], json!([]));
                leases[place].hear(answer["signals"].as_array().unwrap().clone());
            }
            Some(next) => {
                assert_eq!(next, believed.next_seq + count);
                leases[place].next_seq = next;
                leases[place].signals = answer["signals"].as_array().unwrap().clone();
                if !matches!(act, Act::Answer | Act::TakeIn) {
                    leases.remove(place);
                } else if matches!(act, Act::TakeIn) {
                    leases[place].signals.clear();
                }
            }
            None if answer["error"]["code"] == "stale_lease" => drop(leases.remove(place)),
            None => {
                assert_eq!(answer["error"]["code"], "signal_withdrawn", "{answer}");
                leases[place].signals.clear();
            }
        }
    }

    async fn epoch(&self, run: &str) -> u64 {
        let sql = "SELECT epoch FROM runs WHERE workspace_id = ?1 AND id = ?2";
        let rows = self.scope.query(sql, [run.to_owned().into()]).await.unwrap();
        rows[0].unsigned(0).unwrap()
    }

    async fn person(&mut self, run: usize, deed: Deed) {
        if self.runs.is_empty() {
            return;
        }
        let run = self.runs[run % self.runs.len()];
        let (edge, scope) = (&self.t.edge, &self.scope);
        let done = match deed {
            Deed::Cancel => control::cancel(edge, scope, run, "p").await,
            Deed::Pause => control::pause(edge, scope, run, "p").await,
            Deed::Resume => control::resume(edge, scope, run, "p").await,
            Deed::Answer => {
                let decision = Decision {
                    choice: Some(Choice::Skip),
                    by: "p".into(),
                    text: String::new(),
                };
                control::answer(edge, scope, run, decision).await
            }
        };
        if let Err(error) = done {
            assert_eq!(error.status, StatusCode::CONFLICT, "{error:?}");
        }
    }

    /// Holds at every moment.
    pub(crate) async fn check(&self) {
        let columns = "SELECT id, phase, waits, next_seq, epoch, crashes, conversation_id FROM runs WHERE workspace_id = ?1";
        let mut places: BTreeMap<String, u32> = BTreeMap::new();
        let mut active: BTreeMap<String, u32> = BTreeMap::new();
        for row in &self.scope.query(columns, []).await.unwrap() {
            let run: RunId = row.parse(0).unwrap();
            let journal = roost_edge::runs::journal::page(&self.scope, run, 0)
                .await
                .unwrap();
            let state = allowed(&journal);
            let phase = Phase::from_name(row.text(1).unwrap()).unwrap();
            assert_eq!((state.phase, state.next_seq), (phase, row.unsigned(3).unwrap()));
            assert_eq!(
                journal.last().unwrap().epoch.max(1),
                row.unsigned(4).unwrap().max(1)
            );
            assert_eq!(u64::from(state.crashes), row.unsigned(5).unwrap(), "{journal:?}");
            let waits = row.optional_text(2).unwrap().and_then(Waits::from_name);
            assert_eq!(waits.is_some(), phase == Phase::Waiting);
            if matches!(phase, Phase::Running | Phase::Parked) {
                *active.entry(row.text(6).unwrap().to_owned()).or_default() += 1;
            }
            for text in heard(&journal) {
                *places.entry(text).or_default() += 1;
            }
            let waiting = "SELECT kind, body ->> '$.work_item.text' FROM signals WHERE workspace_id = ?1 AND run_id = ?2";
            for signal in &self.scope.query(waiting, [run.into()]).await.unwrap() {
                assert!(!phase.is_terminal(), "an ended run leaves nothing unheard");
                if signal.text(0).unwrap() == "steer" {
                    *places.entry(signal.text(1).unwrap().to_owned()).or_default() += 1;
                }
            }
        }
        assert!(active.values().all(|runs| *runs == 1), "one active run per lane");
        let expected: BTreeMap<String, u32> = self.said.iter().map(|(id, ..)| (id.clone(), 1)).collect();
        assert_eq!(places, expected, "every message is in exactly one place");
    }
}

impl Believed {
    fn hear(&mut self, signals: Vec<Value>) {
        for signal in signals {
            if !self.signals.contains(&signal) {
                self.signals.push(signal);
            }
        }
    }

    fn taken_in(&self) -> Value {
        let events = self
            .signals
            .iter()
            .filter_map(|signal| match signal["type"].as_str() {
                Some("steer") => {
                    Some(json!({"type": "steered", "signal": signal["id"], "work_item": signal["work_item"]}))
                }
                Some("answer") => {
                    Some(json!({"type": "answered", "signal": signal["id"], "by": signal["by"]}))
                }
                _ => None,
            });
        events.collect()
    }
}

/// The journal folded, if the state machine allows each of its events and it has no gap.
fn allowed(journal: &[Event]) -> RunState {
    let mut phase = Phase::Queued;
    for (seq, event) in (0..).zip(journal) {
        assert_eq!(event.seq, seq, "no gap");
        if seq > 0 {
            phase = phase.after(&event.body).unwrap();
        }
    }
    RunState::fold(journal).unwrap()
}

/// The texts a journal holds, and whose they may be.
fn heard(journal: &[Event]) -> Vec<String> {
    let mut asked = false;
    let mut texts = Vec::new();
    let mut trust = None;
    for event in journal {
        match &event.body {
            EventBody::Opened { work_item, .. } => {
                trust = Some(work_item.actor.trust);
                texts.push(work_item.text.clone());
            }
            EventBody::Asked { .. } => asked = true,
            EventBody::Steered { work_item, .. } => {
                assert!(asked || Some(work_item.actor.trust) == trust, "a stranger steers");
                texts.push(work_item.text.clone());
            }
            _ => {}
        }
    }
    texts
}
