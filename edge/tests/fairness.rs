//! What a poll takes when more waits than it has room for: agents take turns, and after an outage runs come back bit by bit.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use common::{Hands, TestEdge, real_now};
use roost_edge::edge::DEFAULT_WORKSPACE;
use serde_json::{Value, json};

async fn take(t: &TestEdge, room: u32) -> Vec<Value> {
    let (_, answer) = t.runner("/poll", json!({"runner": "one", "room": room})).await;
    answer["leases"].as_array().unwrap().clone()
}

#[tokio::test]
async fn one_agents_many_runs_do_not_stand_before_anothers_few() {
    let t = TestEdge::new().await;
    let (ada, _) = t.employ("ada").await;
    for number in 0..12 {
        t.say(&format!("e{number}"), &format!("c{number}"), "hello").await;
    }
    let (bob, _) = t.employ("bob").await;
    t.say("last", "last", "@bob hello").await;
    let agents: Vec<_> = take(&t, 4)
        .await
        .iter()
        .map(|lease| lease["agent"]["id"].clone())
        .collect();
    assert_eq!(agents.len(), 4);
    assert_eq!(agents.iter().filter(|agent| **agent == json!(bob.id)).count(), 1);
    assert_eq!(agents.iter().filter(|agent| **agent == json!(ada.id)).count(), 3);
}

#[tokio::test]
async fn after_an_outage_runs_come_back_bit_by_bit_and_the_often_torn_last() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    for number in 0..20 {
        t.say(&format!("e{number}"), &format!("c{number}"), "hello").await;
    }
    assert_eq!(take(&t, 64).await.len(), 20);
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let outage = "UPDATE runs SET due_at = 0, crashes = (work_item_id = (SELECT min(work_item_id) FROM runs)) \
                  WHERE workspace_id = ?1";
    scope.write(vec![scope.sql(outage, [])]).await.unwrap();
    t.say("fresh", "fresh", "hello").await;
    let first = take(&t, 64).await;
    let texts: Vec<_> = first
        .iter()
        .map(|lease| &lease["journal"][0]["work_item"]["conversation"]["key"])
        .collect();
    assert_eq!(
        first.len(),
        17,
        "sixteen that were torn, and the fresh one: {texts:?}"
    );
    assert!(texts.contains(&&json!("fresh")));
    let torn = take(&t, 3).await;
    assert_eq!(torn.len(), 3);
}

/// Two agents' runs lose their runner at once, one's first and many.
#[tokio::test]
async fn what_lost_its_runner_at_once_comes_back_in_steps_and_in_turns() {
    let hands = Arc::new(Hands(AtomicI64::new(real_now())));
    let t = TestEdge::on_clock(hands.clone(), |_| {}).await;
    let (ada, _) = t.employ("ada").await;
    for number in 0..80 {
        t.say(&format!("e{number}"), &format!("c{number}"), "hello").await;
    }
    let (bob, _) = t.employ("bob").await;
    for number in 80..84 {
        t.say(&format!("e{number}"), &format!("c{number}"), "@bob hello")
            .await;
    }
    let mut held = 0;
    while held < 84 {
        held += take(&t, 64).await.len();
    }
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let outage = "UPDATE runs SET due_at = (agent_id <> ?2) WHERE workspace_id = ?1";
    let first = [ada.id.into()];
    scope.write(vec![scope.sql(outage, first)]).await.unwrap();

    let mut back = Vec::new();
    let mut steps = Vec::new();
    while back.len() < 84 {
        let before = back.len();
        // Several runners, again and again, in the same moment.
        for _ in 0..6 {
            back.extend(take(&t, 64).await);
        }
        steps.push(back.len() - before);
        hands.0.fetch_add(250, Ordering::SeqCst);
        assert!(steps.len() < 20, "{steps:?}");
    }
    assert_eq!(steps, [32, 32, 20]);
    let early = back[..16]
        .iter()
        .filter(|lease| lease["agent"]["id"] == json!(bob.id));
    assert_eq!(early.count(), 4, "the many don't stand before the few");
    let runs: BTreeSet<String> = back.iter().map(|lease| lease["run"].to_string()).collect();
    assert_eq!(runs.len(), 84);
}
