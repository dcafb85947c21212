//! What a poll takes when more waits than it has room for: agents take turns, and after an outage runs come back bit by bit,
//! each workspace by itself.

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
use futures::future::join_all;
use roost_edge::db;
use serde_json::{Value, json};

/// What is due at once when every lease has ended without a word.
const ALL_TORN: &str = "/* all */ UPDATE runs SET due_at = 0 WHERE workspace_id = ?1 AND phase = 'running'";

async fn take(t: &TestEdge, room: u32) -> Vec<Value> {
    let (_, answer) = t.runner("/poll", json!({"runner": "one", "room": room})).await;
    answer["leases"].as_array().unwrap().clone()
}

/// Says something in each of these conversations.
async fn say_in(t: &TestEdge, conversations: std::ops::Range<u32>) {
    let said = conversations.map(|number| async move {
        let name = format!("c{number}");
        assert!(t.say(&name, &name, "hello").await.0.is_success());
    });
    join_all(said).await;
}

/// Leases all there is.
async fn take_all(t: &TestEdge) -> usize {
    let mut taken = 0;
    loop {
        match take(t, 64).await.len() {
            0 => return taken,
            more => taken += more,
        }
    }
}

/// Changes the workspace's runs behind the edge's back.
async fn outage(t: &TestEdge, sql: &'static str, args: impl IntoIterator<Item = db::Value>) {
    let scope = t.edge.scope(t.workspace);
    scope.write(vec![scope.sql(sql, args)]).await.unwrap();
}

fn torn(leases: &[Value]) -> usize {
    leases.iter().filter(|lease| lease["epoch"] != json!(1)).count()
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
    let once_before = "/* all */ UPDATE runs SET due_at = 0, crashes = (work_item_id = (SELECT min(work_item_id) FROM runs)) \
                       WHERE workspace_id = ?1";
    outage(&t, once_before, []).await;
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
    outage(
        &t,
        "/* all */ UPDATE runs SET due_at = (agent_id <> ?2) WHERE workspace_id = ?1",
        [ada.id.into()],
    )
    .await;

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

#[tokio::test]
async fn a_crowd_of_torn_runs_and_a_crowd_of_fresh_ones_hold_up_none_of_the_other() {
    let t = TestEdge::on_clock(Arc::new(Hands(AtomicI64::new(real_now()))), |_| {}).await;
    t.employ("ada").await;
    say_in(&t, 0..100).await;
    assert_eq!(take_all(&t).await, 100);
    outage(&t, ALL_TORN, []).await;
    say_in(&t, 100..200).await;
    let few = take(&t, 4).await;
    assert_eq!((torn(&few), few.len()), (2, 4), "they take turns");
    // No more may come back at this moment; who begins only now does not wait for that.
    let mut leases = few;
    for _ in 0..2 {
        leases.extend(take(&t, 64).await);
    }
    assert_eq!(
        (torn(&leases), leases.len()),
        (32, 132),
        "all that began only now"
    );

    // The other way round: what waited before the runner was lost is no reason to wait.
    say_in(&t, 200..300).await;
    outage(
        &t,
        "/* all */ UPDATE runs SET due_at = CASE phase WHEN 'queued' THEN 0 ELSE 1 END, crashes = 0 WHERE workspace_id = ?1",
        [],
    )
    .await;
    let few = take(&t, 8).await;
    assert_eq!((few.len() - torn(&few), few.len()), (4, 8));
}

/// Two workspaces share an edge and a database, and both lose their runners at once.
#[tokio::test]
async fn a_workspace_with_three_torn_runs_does_not_wait_for_one_with_a_thousand() {
    let hands = Arc::new(Hands(AtomicI64::new(real_now())));
    let big = TestEdge::on_clock(hands.clone(), |_| {}).await;
    let small = big.beside("small").await;
    for (t, runs) in [(&big, 1000), (&small, 3)] {
        t.employ("ada").await;
        say_in(t, 0..runs).await;
        assert_eq!(take_all(t).await, runs as usize);
    }
    for t in [&big, &small] {
        outage(t, ALL_TORN, []).await;
    }
    let mut steps = Vec::new();
    while steps.iter().sum::<usize>() < 1000 {
        steps.push(take_all(&big).await);
        let back = match steps.len() {
            1 => 3,
            step => {
                let fresh = 3 + step as u32;
                say_in(&small, fresh..fresh + 1).await;
                1
            }
        };
        assert_eq!(take_all(&small).await, back, "the small one, in the same moment");
        hands.0.fetch_add(250, Ordering::SeqCst);
        assert!(steps.len() < 40, "{steps:?}");
    }
    assert_eq!(steps, [[32; 31].as_slice(), &[8]].concat());
}
