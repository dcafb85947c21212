//! The worker against a scripted edge: what it does with polls nobody answers, and with runs that take too long to end.

#![allow(clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use futures::future::BoxFuture;
use roost_runner::{
    edge_client::EdgeClient,
    worker::{Control, Drain, Driver, Worker, WorkerConfig},
};
use roost_shared::{
    AgentId, PollId, RunId, UnixMillis,
    agent::{AgentSpec, LaneRules, RunLimits},
    sprite::SpriteOwner,
    wire::{Lease, PollRequest, PollResponse, WithdrawResponse},
};
use tokio::sync::{Notify, mpsc, oneshot};

/// How a poll is answered.
enum Answer {
    With(PollResponse),
    /// Taken, but the answer is lost.
    Lost,
}

/// An edge that answers polls by a script and holds those beyond it for ever.
struct Edge {
    answers: Mutex<VecDeque<Answer>>,
    seen: mpsc::UnboundedSender<Seen>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Poll(Option<PollId>, Option<Vec<AgentId>>),
    Withdraw(PollId),
}

async fn poll(State(edge): State<Arc<Edge>>, Json(request): Json<PollRequest>) -> Response {
    edge.seen.send(Seen::Poll(request.poll, request.only)).unwrap();
    let answer = edge.answers.lock().unwrap().pop_front();
    match answer {
        Some(Answer::With(response)) => Json(response).into_response(),
        Some(Answer::Lost) => StatusCode::BAD_GATEWAY.into_response(),
        None => std::future::pending().await,
    }
}

async fn withdraw(State(edge): State<Arc<Edge>>, Path(poll): Path<PollId>) -> Json<WithdrawResponse> {
    edge.seen.send(Seen::Withdraw(poll)).unwrap();
    Json(WithdrawResponse {
        given_back: Vec::new(),
    })
}

/// A driver that tells how urgently it was asked for its run, and lets go only when it must. With a run at hand it has room
/// only for more of the same agent.
struct Stubborn(Arc<Mutex<Vec<Drain>>>, Arc<Notify>, AtomicBool);

impl Driver for Stubborn {
    fn only(&self) -> Option<Vec<AgentId>> {
        self.2.load(Ordering::SeqCst).then(|| vec![agent()])
    }

    fn drive(&self, _: Lease, mut control: Control) -> BoxFuture<'static, ()> {
        let (told, driving) = (self.0.clone(), self.1.clone());
        self.2.store(true, Ordering::SeqCst);
        Box::pin(async move {
            driving.notify_one();
            loop {
                control.drain.changed().await.unwrap();
                let drain = *control.drain.borrow();
                told.lock().unwrap().push(drain);
                if drain == Drain::Now {
                    return;
                }
            }
        })
    }
}

/// A worker at work, what its edge sees of it and what its driver is told.
struct Bench {
    seen: mpsc::UnboundedReceiver<Seen>,
    told: Arc<Mutex<Vec<Drain>>>,
    driving: Arc<Notify>,
    stop: oneshot::Sender<()>,
    working: tokio::task::JoinHandle<()>,
}

impl Bench {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let edge = Arc::new(Edge {
            answers: Mutex::new(answers.into_iter().collect()),
            seen: sender,
        });
        let router = Router::new()
            .route("/runner/v1/poll", post(poll))
            .route("/runner/v1/polls/{poll}/withdraw", post(withdraw))
            .with_state(edge);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });

        let (told, driving) = (Arc::default(), Arc::new(Notify::new()));
        let driver = Stubborn(Arc::clone(&told), driving.clone(), AtomicBool::new(false));
        let config = WorkerConfig {
            name: "tests".into(),
            slots: 2,
            doorbell: None,
            tick: Duration::from_secs(3_600),
            grace: Duration::from_millis(50),
        };
        let client = EdgeClient::new(reqwest::Client::new(), &url, "token");
        let worker = Worker::new(config, client, Arc::new(driver));
        let (stop, stopped) = oneshot::channel::<()>();
        let working = tokio::spawn(async move {
            worker.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self {
            seen,
            told,
            driving,
            stop,
            working,
        }
    }

    async fn poll(&mut self) -> PollId {
        match self.seen.recv().await.unwrap() {
            Seen::Poll(Some(poll), _) => poll,
            other => panic!("{other:?}"),
        }
    }

    /// Stops the worker, which must not take longer than its grace asks for.
    async fn stop(self) -> (mpsc::UnboundedReceiver<Seen>, Vec<Drain>) {
        self.stop.send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.working).await;
        ended.unwrap().unwrap();
        let told = self.told.lock().unwrap().clone();
        (self.seen, told)
    }
}

fn agent() -> AgentId {
    AgentId::new(UnixMillis(1), [1; 10])
}

fn lease() -> Answer {
    let lease = Lease {
        run: RunId::new(UnixMillis(1), [1; 10]),
        epoch: 1,
        agent: AgentSpec {
            id: agent(),
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
        sprite: "agent-1".into(),
        git_origin: None,
        journal: Vec::new(),
        history: Vec::new(),
        signals: Vec::new(),
    };
    Answer::With(PollResponse {
        leases: vec![lease],
        lost: Vec::new(),
        signals: Vec::new(),
        lease_ms: 30_000,
        doorbell_key: None,
    })
}

#[tokio::test]
async fn a_poll_that_shutdown_leaves_unanswered_is_withdrawn() {
    let mut bench = Bench::start([]).await;
    let held = bench.poll().await;
    let (mut seen, _) = bench.stop().await;
    assert_eq!(seen.recv().await, Some(Seen::Withdraw(held)));
}

#[tokio::test]
async fn a_poll_whose_answer_is_lost_is_withdrawn_before_the_next() {
    let mut bench = Bench::start([Answer::Lost]).await;
    let lost = bench.poll().await;
    assert_eq!(bench.seen.recv().await, Some(Seen::Withdraw(lost)));
    assert_ne!(bench.poll().await, lost);
    bench.stop().await;
}

#[tokio::test]
async fn a_run_that_outlasts_the_grace_is_told_to_let_go() {
    let bench = Bench::start([lease()]).await;
    bench.driving.notified().await;
    let (_, told) = bench.stop().await;
    assert_eq!(told, [Drain::Soon, Drain::Now]);
}

#[tokio::test]
async fn what_the_driver_has_no_room_for_is_not_asked_for() {
    let mut bench = Bench::start([lease()]).await;
    assert!(matches!(bench.seen.recv().await, Some(Seen::Poll(Some(_), None))));
    bench.driving.notified().await;
    let next = bench.seen.recv().await;
    assert!(matches!(next, Some(Seen::Poll(Some(_), Some(only))) if only == [agent()]));
    bench.stop().await;
}
