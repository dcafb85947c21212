//! A poll that waits lets the next webhook lease its run for it; nothing it leased is lost with the poll.

#![allow(clippy::unwrap_used)]

mod common;

use std::{future::Future, pin::pin, task::Poll};

use common::{TestEdge, lane};
use http::StatusCode;
use roost_shared::agent::LaneMode;
use serde_json::{Value, json};

/// A poll that is held until something comes; of these agents alone, if any are named.
fn held(name: &str, poll: u8, only: Value) -> Value {
    json!({
        "runner": name, "room": 4, "wait_ms": 20_000, "poll": format!("01J9ZD6M5N00000000000000{poll:02}"), "only": only
    })
}

/// Lets the poll run until it waits.
async fn begin(poll: &mut (impl Future<Output = (StatusCode, Value)> + Unpin)) {
    for _ in 0..200 {
        let pending =
            std::future::poll_fn(|context| Poll::Ready(pin!(&mut *poll).poll(context).is_pending()));
        assert!(pending.await, "there is nothing to tell yet");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_webhook_leases_its_run_for_the_poll_that_waits() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let mut poll = Box::pin(t.runner("/poll", held("one", 1, Value::Null)));
    begin(&mut poll).await;

    let (_, said) = t.say("e1", "c1", "hello").await;
    assert_eq!(
        t.poll("two", json!([])).await["leases"],
        json!([]),
        "it is leased with the very batch that stores it"
    );
    let (status, answer) = poll.await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let lease = &answer["leases"][0];
    assert_eq!((&lease["run"], &lease["epoch"]), (&said["runs"][0], &json!(1)));

    // What the poll was told without reading it is what the database holds.
    let run = lease["run"].as_str().unwrap();
    let done = json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "completed", "reply": "hi"}]});
    let (status, body) = t.runner(&format!("/runs/{run}/events"), done).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let stored = t.edge.scope("main");
    let stored = roost_edge::runs::journal::page(&stored, run.parse().unwrap(), 0)
        .await
        .unwrap();
    assert_eq!(lease["journal"], serde_json::to_value(&stored[..2]).unwrap());

    // The next one of the conversation remembers it.
    let mut poll = Box::pin(t.runner("/poll", held("one", 2, Value::Null)));
    begin(&mut poll).await;
    t.say("e1", "c1", "hello").await;
    begin(&mut poll).await;
    t.say("e2", "c1", "and now?").await;
    let (_, answer) = poll.await;
    assert_eq!(answer["leases"][0]["history"][0]["reply"], "hi", "{answer}");
}

#[tokio::test]
async fn what_a_poll_that_went_away_was_offered_goes_to_another() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let mut gone = Box::pin(t.runner("/poll", held("one", 1, Value::Null)));
    begin(&mut gone).await;
    drop(gone);
    let mut withdrawn = Box::pin(t.runner("/poll", held("one", 2, Value::Null)));
    begin(&mut withdrawn).await;
    let (status, _) = t
        .runner("/polls/01J9ZD6M5N0000000000000002/withdraw", json!({}))
        .await;
    assert_eq!(status, StatusCode::OK);

    let (_, said) = t.say("e1", "c1", "hello").await;
    let leases = t.poll("two", json!([])).await["leases"].clone();
    assert_eq!(leases[0]["run"], said["runs"][0], "{leases}");
}

#[tokio::test]
async fn an_offer_is_for_what_the_poll_may_take_and_begins_now() {
    let t = TestEdge::new().await;
    let (ada, _) = t.hire("ada", lane(LaneMode::Steer, 60_000)).await;
    let mut others = Box::pin(t.runner("/poll", held("one", 1, json!(["01J9ZD6M5N0000000000000000"]))));
    begin(&mut others).await;
    let mut waits = Box::pin(t.runner("/poll", held("two", 2, json!([ada.id]))));
    begin(&mut waits).await;
    t.say("e1", "c1", "hello").await;
    // It waits for more to be said before it begins.
    begin(&mut others).await;
    begin(&mut waits).await;
}

#[tokio::test]
async fn an_offer_is_taken_as_often_as_its_poll_has_room() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let mut poll = Box::pin(t.runner("/poll", held("one", 1, Value::Null)));
    begin(&mut poll).await;

    // The poll hears of none before all have been said.
    let mut begun = Vec::new();
    for number in 1..=5 {
        let (_, said) = t.say(&format!("e{number}"), &format!("c{number}"), "hello").await;
        begun.push(said["runs"][0].clone());
    }
    let left = t.poll("two", json!([])).await["leases"].clone();
    assert_eq!(left[0]["run"], begun[4], "{left}");
    let (_, answer) = poll.await;
    let leases = answer["leases"].as_array().unwrap();
    let leased: Vec<Value> = leases.iter().map(|lease| lease["run"].clone()).collect();
    assert_eq!(leased, begun[..4], "{answer}");
    for lease in leases {
        let journal = lease["journal"].as_array().unwrap();
        assert_eq!(journal.len(), 2, "{lease}");
        let run = lease["run"].as_str().unwrap();
        let done = json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "completed", "reply": "hi"}]});
        let (status, body) = t.runner(&format!("/runs/{run}/events"), done).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}
