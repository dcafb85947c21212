//! The world the steps happen in.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::StatusCode;
use roost_edge::{db::Scope, edge::DEFAULT_WORKSPACE, runs::control};
use roost_shared::{
    RunId,
    agent::LaneMode,
    question::{Choice, Decision},
};
use serde_json::{Value, json};

use crate::{
    common::{
        self, Hands, TestEdge,
        github::{self, Comment},
        lane,
    },
    steps::{Act, Deed, Step},
};

/// A comment as its author knows it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    number: usize,
    conversation: u8,
    member: bool,
    /// Also its text.
    pub(crate) id: String,
    /// Its later texts, each with the runs that are told.
    pub(crate) edits: Vec<(String, Vec<RunId>)>,
    pub(crate) deleted: bool,
}

impl Said {
    fn new(number: usize, conversation: u8, member: bool) -> Self {
        Self {
            number,
            conversation,
            member,
            id: format!("m{number}"),
            edits: Vec::new(),
            deleted: false,
        }
    }

    async fn tell(&self, t: &TestEdge, action: &str, text: &str) -> Value {
        let comment = Comment {
            delivery: &format!("{action} {text}"),
            action,
            issue: u64::from(self.conversation) + 1,
            id: self.number as u64 + 1,
            text,
            association: if self.member { "MEMBER" } else { "NONE" },
        };
        github::tell(t, comment).await
    }
}

/// The answer, if it comes within some moments.
async fn soon(
    waiting: &mut (impl Future<Output = (StatusCode, Value)> + Unpin),
) -> Option<(StatusCode, Value)> {
    for _ in 0..8 {
        let now = std::future::poll_fn(|context| Poll::Ready(pin!(&mut *waiting).poll(context)));
        if let Poll::Ready(answer) = now.await {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
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
    pub(crate) scope: Scope,
    pub(crate) said: Vec<Said>,
    leases: [Vec<Believed>; 2],
    runs: Vec<RunId>,
}

impl World {
    pub(crate) async fn new(mode: LaneMode, debounce: u32) -> Self {
        let hands = Arc::new(Hands(AtomicI64::new(common::real_now())));
        let t = TestEdge::on_clock(hands.clone(), |settings| settings.crash_limit = 3).await;
        let (ada, _) = t.hire("ada", lane(mode, debounce)).await;
        github::connect(&t, ada.id).await;
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

    pub(crate) async fn step(&mut self, step: &Step) {
        self.pass(2);
        match step {
            Step::Say { conversation, member } => self.say(*conversation, *member).await,
            Step::SayAgain => {
                if let Some(said) = self.said.last() {
                    assert_eq!(
                        said.tell(&self.t, "created", &said.id).await["verdict"],
                        "duplicate"
                    );
                }
            }
            Step::Edit { message } => self.change(*message, "edited").await,
            Step::Delete { message } => self.change(*message, "deleted").await,
            Step::Offer {
                runner,
                conversation,
                member,
            } => self.offer(*runner, *conversation, *member).await,
            Step::Poll { runner } => self.poll(*runner).await,
            Step::Outage => self.pass(200_000),
            Step::Tick => {
                self.t.runner("/tick", json!({})).await;
            }
            Step::Act { runner, lease, act } => self.act(*runner, *lease, *act).await,
            Step::Person { run, deed } => self.person(*run, *deed).await,
        }
    }

    /// A comment is written.
    async fn say(&mut self, conversation: u8, member: bool) {
        let said = Said::new(self.said.len(), conversation, member);
        let received = said.tell(&self.t, "created", &said.id).await;
        self.heard(said, &received);
    }

    fn heard(&mut self, said: Said, received: &Value) {
        let run: RunId = received["runs"][0].as_str().unwrap().parse().unwrap();
        if !self.runs.contains(&run) {
            self.runs.push(run);
        }
        self.said.push(said);
    }

    async fn change(&mut self, message: usize, action: &str) {
        let count = self.said.len();
        let Some(said) = self.said.get_mut(message % count.max(1)) else {
            return;
        };
        if said.deleted {
            return;
        }
        let text = match action {
            "edited" => format!("{}, edit {}", said.id, said.edits.len()),
            _ => said
                .edits
                .last()
                .map_or(said.id.clone(), |(text, _)| text.clone()),
        };
        let received = said.tell(&self.t, action, &text).await;
        if action == "deleted" {
            said.deleted = true;
            return;
        }
        let told = received["runs"].as_array().into_iter().flatten();
        let told = told.map(|run| run.as_str().unwrap().parse().unwrap());
        said.edits.push((text, told.collect()));
    }

    /// A message comes while a poll waits; when it is not answered at once, its runner goes away.
    async fn offer(&mut self, runner: usize, conversation: u8, member: bool) {
        let poll = format!("01J9ZD6M5N{:016}", self.said.len());
        let mut body = self.asking(runner);
        body["poll"] = json!(poll);
        body["wait_ms"] = json!(20_000);
        let said = Said::new(self.said.len(), conversation, member);
        let (received, answer) = {
            let mut waiting = Box::pin(self.t.runner("/poll", body));
            let mut answer = soon(&mut waiting).await;
            let received = said.tell(&self.t, "created", &said.id).await;
            if answer.is_none() {
                answer = soon(&mut waiting).await;
            }
            (received, answer)
        };
        self.heard(said, &received);
        match answer {
            Some((status, answer)) => {
                assert_eq!(status, StatusCode::OK, "{answer}");
                self.believe(runner, &answer);
            }
            None => {
                let path = format!("/polls/{poll}/withdraw");
                let (status, answer) = self.t.runner(&path, json!({})).await;
                assert_eq!(status, StatusCode::OK, "{answer}");
            }
        }
    }

    /// What a runner asks for.
    fn asking(&self, runner: usize) -> Value {
        let held: Vec<_> = self.leases[runner]
            .iter()
            .map(|lease| json!({"run": lease.run, "epoch": lease.epoch}))
            .collect();
        json!({"runner": format!("r{runner}"), "room": 2, "held": held})
    }

    async fn poll(&mut self, runner: usize) {
        let (status, answer) = self.t.runner("/poll", self.asking(runner)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        self.believe(runner, &answer);
    }

    /// What a runner makes of a poll's answer.
    fn believe(&mut self, runner: usize, answer: &Value) {
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
                    let (id, change, item) = (&signal["id"], &signal["change"], &signal["work_item"]);
                    Some(json!({"type": "steered", "signal": id, "change": change, "work_item": item}))
                }
                Some("answer") => {
                    Some(json!({"type": "answered", "signal": signal["id"], "by": signal["by"]}))
                }
                _ => None,
            });
        events.collect()
    }
}
