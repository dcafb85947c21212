//! A host's own timer does what is due in every workspace, without a runner: from the webhook that began what is late.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use common::{As, Hands, TestEdge, real_now};
use futures::future::BoxFuture;
use roost_edge::{auth::token::Audience, db::Statement, host::native, ports::Clock, setup};
use roost_shared::UnixMillis;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

const DAY: i64 = 86_400_000;

async fn of_run(t: &TestEdge, method: &str, path: &str, body: Value) -> Value {
    let token = t.token(Audience::Api, t.workspace);
    t.api(As::Token(&token), method, path, body).await.1
}

/// A run that a person paused and that nobody resumes, from its webhook.
async fn paused(t: &TestEdge) -> String {
    t.employ("ada").await;
    let (_, received) = t.say("once", "a chat", "please wait").await;
    let run = received["runs"][0].as_str().unwrap().to_owned();
    let said = of_run(t, "POST", &format!("/runs/{run}/pause"), json!({})).await;
    assert_eq!(said["status"], "paused", "{said}");
    run
}

/// Where the run stands, and whether its delivery still has its payload.
async fn now(t: &TestEdge, run: &str) -> (Value, bool) {
    let run = of_run(t, "GET", &format!("/runs/{run}"), Value::Null).await;
    let delivery = format!("/deliveries/{}", run["asked"]["delivery"].as_str().unwrap());
    let delivery = of_run(t, "GET", &delivery, Value::Null).await;
    (run["phase"].clone(), delivery["body"]["text"].is_string())
}

#[tokio::test]
async fn what_is_due_is_done_in_every_workspace_in_turns_and_one_that_fails_keeps_none_from_it() {
    let hands = Arc::new(Hands(AtomicI64::new(real_now())));
    let main = TestEdge::on_clock(hands.clone(), |settings| {
        settings.keep_payloads_days = NonZeroU32::new(30);
    })
    .await;
    let (beside, damaged) = (main.beside("beside").await, main.beside("damaged").await);
    let runs = (paused(&main).await, paused(&beside).await);
    let spoilt = paused(&damaged).await;
    main.edge.tick().await.unwrap();
    assert_eq!(now(&main, &runs.0).await, (json!("waiting"), true));
    let spoil = "UPDATE payload_walks SET due_at = 'damaged' WHERE workspace_id = ?1";
    let scope = main.edge.scope("damaged");
    scope.write(vec![scope.sql(spoil, [])]).await.unwrap();
    hands.0.fetch_add(31 * DAY, Ordering::SeqCst);
    for _ in 0..2 {
        main.edge.tick().await.unwrap();
    }
    assert_eq!(now(&main, &runs.0).await, (json!("cancelled"), false));
    assert_eq!(now(&beside, &runs.1).await, (json!("cancelled"), false));
    assert_eq!(now(&damaged, &spoilt).await, (json!("cancelled"), true));

    // More than one tick looks after: those that were not come next.
    let (database, late) = (&main.edge.ports.database, main.beside("zz-the-last").await);
    for number in 0..40 {
        let name = format!("one-of-many-{number}");
        setup::ensure_workspace(database, &name, main.edge.now())
            .await
            .unwrap();
    }
    let run = paused(&late).await;
    hands.0.fetch_add(31 * DAY, Ordering::SeqCst);
    main.edge.tick().await.unwrap();
    assert_eq!(now(&late, &run).await.0, "waiting");
    main.edge.tick().await.unwrap();
    assert_eq!(now(&late, &run).await.0, "cancelled");
    let turns = Statement::new("SELECT min(turn) FROM workspaces", vec![]);
    let turns = database
        .batch(roost_edge::db::Mode::Read, vec![turns])
        .await
        .unwrap();
    assert_eq!(turns[0][0].integer(0).unwrap(), 1, "none was left out");
}

/// A clock that stands until the test moves it; who sleeps by it wakes at its beats, each one of them.
struct Metronome {
    hands: Hands,
    beats: Arc<Semaphore>,
}

impl Clock for Metronome {
    fn now(&self) -> UnixMillis {
        self.hands.now()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        let beats = self.beats.clone();
        Box::pin(async move { beats.acquire_owned().await.unwrap().forget() })
    }
}

#[tokio::test]
async fn a_native_edge_has_a_timer_of_its_own() {
    let clock = Arc::new(Metronome {
        hands: Hands(AtomicI64::new(real_now())),
        beats: Arc::new(Semaphore::new(0)),
    });
    let t = TestEdge::on_clock(clock.clone(), |_| {}).await;
    let run = paused(&t).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = tokio::spawn(native::serve(listener, t.edge.clone(), std::future::pending()));
    clock.hands.0.fetch_add(31 * DAY, Ordering::SeqCst);
    clock.beats.add_permits(1);
    let done = async {
        while now(&t, &run).await.0 != "cancelled" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    served.abort();
}
