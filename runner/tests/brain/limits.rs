//! A sprite host at its limit: the run waits for it, and nobody is bothered with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use roost_runner::{
    sprite::Sprites,
    standin::model::{Script, Turn},
    tool::standard,
    worker::Driver,
};
use roost_shared::{event::EventBody, run::Phase, sprite::SpriteOwner};
use serde_json::json;

use crate::bench::{Bench, Memory, run_id};

/// A way to the host that answers with 429 while there is no room.
struct Gate {
    base: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    /// What is refused: creating sprites, or running commands in them.
    refused: &'static str,
    /// How often it is still refused.
    left: AtomicU32,
    refusals: AtomicU32,
    http: reqwest::Client,
}

impl Gate {
    async fn to(target: &str, refused: &'static str, times: u32) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            refused,
            left: AtomicU32::new(times),
            refusals: AtomicU32::new(0),
            http: reqwest::Client::new(),
        });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, shared }
    }
}

async fn pass(State(gate): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asks = format!("{} {}", parts.method, parts.uri.path());
    let one_less = |left: u32| left.checked_sub(1);
    if asks.starts_with(gate.refused)
        && gate
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
    {
        gate.refusals.fetch_add(1, Ordering::SeqCst);
        let body = json!({"error": "concurrent_sprite_limit_exceeded", "message": "no room", "retry_after_seconds": 1});
        return (axum::http::StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response();
    }
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let answer = gate
        .http
        .request(parts.method, format!("{}{}", gate.target, parts.uri))
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// Drives the run until it is over, and counts how often it slept.
async fn drive_on(bench: &Bench, memory: &Arc<Memory>) -> u32 {
    let mut slept = 0;
    while !memory.state().phase.is_terminal() {
        bench.drive(memory).await;
        slept += u32::from(memory.state().phase == Phase::Parked);
    }
    slept
}

fn reasons(memory: &Memory) -> Vec<String> {
    let events = memory.events.lock().unwrap();
    let reason = |event: &roost_shared::event::Event| match &event.body {
        EventBody::Parked { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    events.iter().filter_map(reason).collect()
}

fn script() -> Script {
    Script::turns(vec![
        Turn::call("write_file", json!({"path": "a.txt", "content": "here"})),
        Turn::say("Done."),
    ])
}

#[tokio::test]
async fn a_limit_on_new_sprites_is_waited_for_however_often_it_is_met() {
    let mut bench = Bench::new(script()).await;
    bench.tools = standard();
    bench.config.sprite_attempts = 2;
    let gate = Gate::to(&bench.host, "POST /v1/sprites", 3).await;
    bench.sprites = Sprites::new(&gate.base, "token").unwrap();
    let memory = Memory::new();
    assert_eq!(drive_on(&bench, &memory).await, 3);
    assert!(
        matches!(memory.last(), EventBody::Completed { .. }),
        "{:?}",
        memory.kinds()
    );
    assert_eq!(
        memory.results().len(),
        1,
        "the model heard of nothing: {:?}",
        memory.results()
    );
    assert!(!memory.results()[0].is_error);
    assert_eq!(bench.model.requests().len(), 2, "and was not asked meanwhile");
    for reason in reasons(&memory) {
        assert!(reason.starts_with("sprite_limited: "), "{reason}");
    }
    assert_eq!(
        gate.shared.refusals.load(Ordering::SeqCst),
        3,
        "asked once each time"
    );
}

#[tokio::test]
async fn a_limit_on_sprites_awake_leaves_the_call_to_be_made_again() {
    let mut bench = Bench::new(script()).await;
    bench.tools = standard();
    let gate = Gate::to(&bench.host, "PUT /v1/sprites/agent-1/fs/write", 2).await;
    bench.sprites = Sprites::new(&gate.base, "token").unwrap();
    let memory = Memory::new();
    assert_eq!(drive_on(&bench, &memory).await, 2);
    assert!(
        matches!(memory.last(), EventBody::Completed { .. }),
        "{:?}",
        memory.kinds()
    );
    assert_eq!(memory.results().len(), 1);
    assert!(
        memory.results()[0].text.contains("Wrote"),
        "{:?}",
        memory.results()
    );
}

#[tokio::test]
async fn while_there_are_no_new_sprites_only_runs_that_need_none_are_taken() {
    let mut bench = Bench::new(script()).await;
    bench.tools = standard();
    let gate = Gate::to(&bench.host, "POST /v1/sprites", 1).await;
    // Another agent has its sprite already.
    let other = SpriteOwner::Agent.sprite(
        roost_shared::AgentId::new(roost_shared::UnixMillis(2), [2; 10]),
        run_id(),
    );
    bench.sprites.ensure(&other).await.unwrap();
    bench.sprites = Sprites::new(&gate.base, "token").unwrap();
    let memory = Memory::new();
    let brain = bench.brain(&memory);
    assert_eq!(brain.only(), None);
    bench.drive_by(&brain, &memory).await;
    let only = brain.only().expect("the host is at its limit");
    assert_eq!(
        only,
        [roost_shared::AgentId::new(roost_shared::UnixMillis(2), [2; 10])]
    );
    tokio::time::timeout(Duration::from_secs(5), async {
        while brain.only().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("until it has room again");
}
