//! The whole way across processes: a signed webhook goes in, runners work, the reply is recorded on the other side.
//!
//! The edge is a process (workerd, wasmtime, or native), the database a real libSQL server, every runner a process of
//! its own, the model and GitHub stand-ins that speak the real wire.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod limits;
mod shutdown;
mod sprites;
mod steering;
mod world;

use std::{collections::BTreeSet, time::Duration};

use roost_edge::runs::control;
use roost_runner::standin::model::{Fault, Recorded};
use roost_tests::{WasmtimeServe, Workerd};
use serde_json::Value;

use world::{World, comments};

/// The tool's result in the last message of a request, as JSON.
fn tool_result(request: &Recorded) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let blocks = body["messages"].as_array()?.last()?["content"].as_array()?;
    let result = blocks.iter().find(|block| block["type"] == "tool_result")?;
    Some(result["content"].to_string())
}

/// One runner works, a second joins in the middle and shares the load; every message has exactly one reply.
async fn shared_by_two_runners(world: &World, edge: &str) {
    world.model.set_pace(Duration::from_millis(20));
    let _one = world.runner(edge, "one");
    world.say(edge, 1..4).await;
    world.replies(1..2).await;
    let _two = world.runner(edge, "two");
    world.say(edge, 4..13).await;
    world.replies(1..13).await;
    let made = world.github.made();
    assert_eq!(comments(&made).count(), 12, "one reply each: {made:?}");
    assert!(
        comments(&made).all(|made| made.content.starts_with("The answer is 42.")),
        "{made:?}"
    );
    assert_eq!(
        world.takers().await,
        BTreeSet::from(["one".to_owned(), "two".to_owned()])
    );
    let printed: Vec<String> = world.model.requests().iter().filter_map(tool_result).collect();
    assert_eq!(
        printed.len(),
        12,
        "each command's result is sent to the model once"
    );
    assert!(printed.iter().all(|text| text.contains("42")), "{printed:?}");
}

#[tokio::test]
async fn through_a_worker_on_workerd() {
    let world = World::new().await;
    let database = world.sqld.url();
    let edge = Workerd::start(&world.variables(&database)).await;
    shared_by_two_runners(&world, edge.url()).await;
}

#[tokio::test]
async fn through_a_spin_component_on_wasmtime() {
    let world = World::new().await;
    let database = world.sqld.url();
    let edge = WasmtimeServe::start(&world.variables(&database)).await;
    shared_by_two_runners(&world, edge.url()).await;
}

#[tokio::test]
async fn through_the_native_edge() {
    let world = World::new().await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    shared_by_two_runners(&world, &url).await;
}

/// What goes wrong with the model stands in the run, with a stable code and a sentence, and is not lost.
#[tokio::test]
async fn what_goes_wrong_stands_in_the_run() {
    let world = World::new().await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    for fault in [
        Fault::Overloaded,
        Fault::Cut { after: 200 },
        Fault::RateLimit {
            retry_after: Some(Duration::from_secs(1)),
        },
    ] {
        world.model.fail_next(fault);
    }
    let _runner = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world.replies(1..2).await;
    let codes = "SELECT group_concat(body ->> 'code', ' ') FROM events WHERE workspace_id = ?1 AND body ->> 'type' = 'model_failed'";
    let rows = world.office.scope.query(codes, []).await.unwrap();
    assert_eq!(
        rows[0].text(0).unwrap(),
        "model_overloaded model_stream_cut model_rate_limited"
    );

    world.model.fail_next(Fault::RefuseKey);
    world.say(&url, 2..3).await;
    let run = world
        .until_found(
            "SELECT id FROM runs WHERE workspace_id = ?1 AND phase = 'failed' AND outcome = 'model_key_refused'",
        )
        .await;
    let (edge, scope) = (&world.office.edge, &world.office.scope);
    let done = control::resume(edge, scope, run.parse().unwrap(), "a user").await;
    assert_eq!(done.unwrap(), control::Outcome::Now);
    world.replies(2..3).await;
}
