//! Lanes: what becomes of messages that arrive while a run of theirs is open. None is lost, none is heard twice.

#![allow(clippy::unwrap_used)]

mod common;

use common::{TestEdge, lane, signed_by_member};
use http::StatusCode;
use roost_edge::{edge::DEFAULT_WORKSPACE, runs::control};
use roost_shared::agent::LaneMode;
use serde_json::{Value, json};

fn text(signal: &Value) -> &str {
    signal["work_item"]["text"].as_str().unwrap()
}

fn steered(signal: &Value) -> Value {
    json!({"type": "steered", "signal": signal["id"], "work_item": signal["work_item"]})
}

async fn append(t: &TestEdge, run: &str, seq: u64, events: Value) -> (StatusCode, Value) {
    let body = json!({"epoch": 1, "expected_seq": seq, "events": events});
    t.runner(&format!("/runs/{run}/events"), body).await
}

/// One lease, as it stands, of the run.
async fn lease(t: &TestEdge) -> (String, Value) {
    let lease = t.lease().await[0].clone();
    (lease["run"].as_str().unwrap().to_owned(), lease)
}

#[tokio::test]
async fn a_message_for_a_run_at_work_steers_it() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let (_, first) = t.say("e1", "c1", "one").await;
    let (run, _) = lease(&t).await;
    let (_, second) = t.say("e2", "c1", "two").await;
    assert_eq!(
        (&second["runs"], &second["verdict"]),
        (&first["runs"], &json!("accepted"))
    );
    let (_, again) = t.say("e2", "c1", "two").await;
    assert_eq!(again["verdict"], "duplicate");

    let held = json!([{"run": run, "epoch": 1}]);
    let told = t.poll("one", held).await["signals"].clone();
    assert_eq!(told.as_array().unwrap().len(), 1, "once: {told}");
    assert_eq!((told[0]["type"].as_str(), text(&told[0])), (Some("steer"), "two"));

    // It can't end before it has heard it: nothing is written, and it is told.
    let end = json!([{"type": "completed", "reply": "done with one"}]);
    let (status, turned) = append(&t, &run, 2, end.clone()).await;
    assert_eq!((status, &turned["next_seq"]), (StatusCode::OK, &json!(2)));
    assert_eq!(turned["signals"], told);

    let heard = json!([steered(&told[0])]);
    let (status, answer) = append(&t, &run, 2, heard.clone()).await;
    assert_eq!(
        (status, &answer["next_seq"]),
        (StatusCode::OK, &json!(3)),
        "{answer}"
    );
    let (status, answer) = append(&t, &run, 2, heard.clone()).await;
    assert_eq!(
        (status, &answer["next_seq"]),
        (StatusCode::OK, &json!(3)),
        "the same append twice"
    );
    let (status, answer) = append(&t, &run, 3, heard).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("signal_withdrawn")),
        "a signal is taken in once"
    );
    let (status, answer) = append(&t, &run, 3, end).await;
    assert_eq!((status, &answer["next_seq"]), (StatusCode::OK, &json!(4)));
    assert_eq!(t.lease().await.len(), 0, "no other run came of it");
}

#[tokio::test]
async fn what_a_run_has_not_heard_when_it_fails_becomes_a_run_after_it() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "one").await;
    let (run, _) = lease(&t).await;
    for (id, message) in [("e2", "two"), ("e3", "three")] {
        t.say(id, "c1", message).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let (status, _) = append(
        &t,
        &run,
        2,
        json!([{"type": "failed", "code": "x", "message": "x"}]),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let (next, lease) = lease(&t).await;
    assert_ne!(next, run);
    assert_eq!(lease["journal"][0]["work_item"]["text"], "two");
    assert_eq!(lease["journal"][0]["type"], "opened");
    let signals = lease["signals"].as_array().unwrap();
    assert_eq!(signals.iter().map(text).collect::<Vec<_>>(), ["three"]);
    assert_eq!(signals[0]["run"], json!(next));
    // A cancelled run loses nothing either.
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    append(
        &t,
        &next,
        2,
        json!([{"type": "parked", "until": 0, "reason": "x"}]),
    )
    .await;
    let id = next.parse().unwrap();
    control::cancel(&t.edge, &scope, id, "a user").await.unwrap();
    let (last, lease) = self::lease(&t).await;
    assert_ne!(last, next);
    assert_eq!(lease["journal"][0]["work_item"]["text"], "three");
    assert_eq!(lease["signals"], json!([]));
}

#[tokio::test]
async fn collected_messages_become_one_run_after_the_one_at_work() {
    let t = TestEdge::new().await;
    t.hire("ada", lane(LaneMode::Collect, 0)).await;
    t.say("e1", "c1", "one").await;
    let (run, _) = lease(&t).await;
    for (id, message) in [("e2", "two"), ("e3", "three"), ("e4", "four")] {
        t.say(id, "c1", message).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(t.lease().await.len(), 0);
    let (status, answer) = append(&t, &run, 2, json!([{"type": "completed", "reply": "x"}])).await;
    assert_eq!((status, &answer["next_seq"]), (StatusCode::OK, &json!(3)));
    let (_, lease) = lease(&t).await;
    assert_eq!(lease["journal"][0]["work_item"]["text"], "two");
    let signals = lease["signals"].as_array().unwrap();
    assert_eq!(signals.iter().map(text).collect::<Vec<_>>(), ["three", "four"]);
}

#[tokio::test]
async fn a_debounce_joins_what_comes_within_it_and_has_an_end() {
    let t = TestEdge::new().await;
    t.hire("ada", lane(LaneMode::FollowUp, 60_000)).await;
    let (_, first) = t.say("e1", "c1", "one").await;
    let (_, second) = t.say("e2", "c1", "two").await;
    assert_eq!(first["runs"], second["runs"]);
    assert_eq!(t.lease().await.len(), 0, "it waits for more");
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let wait = async || {
        let rows = scope
            .query(
                "/* all */ SELECT due_at - created_at FROM runs WHERE workspace_id = ?1",
                [],
            )
            .await
            .unwrap();
        rows[0].integer(0).unwrap()
    };
    assert!((60_000..70_000).contains(&wait().await));
    // However long they go on, it begins.
    let earlier = "/* all */ UPDATE runs SET created_at = created_at - 595000, due_at = due_at - 59000 WHERE workspace_id = ?1";
    scope.write(vec![scope.sql(earlier, [])]).await.unwrap();
    t.say("e3", "c1", "three").await;
    assert_eq!(wait().await, 600_000);
    let due = "/* all */ UPDATE runs SET due_at = 0 WHERE workspace_id = ?1";
    scope.write(vec![scope.sql(due, [])]).await.unwrap();
    let (_, after) = t.say("e4", "c1", "four").await;
    assert_ne!(
        after["runs"], first["runs"],
        "what comes after the wait follows up"
    );
    let (_, lease) = lease(&t).await;
    assert_eq!(lease["signals"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_run_that_wants_no_runner_waits_for_a_person() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "one").await;
    let (run, _) = lease(&t).await;
    // A member's message does not join an outsider's run...
    t.call(signed_by_member("e9", "c1", "nine")).await;
    assert_eq!(
        t.poll("one", json!([{"run": run, "epoch": 1}])).await["signals"],
        json!([])
    );
    let question = json!({"call": "c", "text": "Was it sent?", "options": ["done", "skip"]});
    let asked = json!([{"type": "asked", "question": question, "until": 99_999_999_999_999_i64}]);
    let (status, answer) = append(&t, &run, 2, asked).await;
    assert_eq!(
        (status, &answer["next_seq"]),
        (StatusCode::OK, &json!(3)),
        "{answer}"
    );
    assert_eq!(t.lease().await.len(), 0);
    let (_, received) = t.call(signed_by_member("e2", "c1", "done")).await;
    // ... but it answers what the run asks.
    assert_eq!(received["runs"], json!([run]));
    let (_, lease) = lease(&t).await;
    let kinds: Vec<_> = lease["journal"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["type"])
        .collect();
    let expected = ["opened", "leased", "asked", "resumed", "leased"];
    assert_eq!(kinds, expected);
    assert_eq!(text(&lease["signals"][0]), "done");
}

#[tokio::test]
async fn a_run_that_ends_every_runner_is_kept_from_them_until_somebody_resumes_it() {
    let t = TestEdge::with(|settings| {
        settings.lease = std::time::Duration::ZERO;
        settings.crash_limit = 3;
    })
    .await;
    t.employ("ada").await;
    t.say("e1", "c1", "one").await;
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let later = async || {
        let later = "/* all */ UPDATE runs SET due_at = due_at - 100000 WHERE workspace_id = ?1 AND phase = 'running'";
        scope.write(vec![scope.sql(later, [])]).await.unwrap();
    };
    let (run, _) = lease(&t).await;
    assert_eq!(
        t.lease().await.len(),
        1,
        "the first time it is taken over at once"
    );
    assert_eq!(t.lease().await.len(), 0, "the second time there is a pause");
    later().await;
    assert_eq!(t.lease().await.len(), 1);
    let tick = async || t.runner("/tick", json!({})).await;
    later().await;
    assert_eq!(t.lease().await.len(), 0, "not a fourth runner");
    tick().await;
    // Its lane goes on without it.
    let (_, next) = t.say("e2", "c1", "two").await;
    assert_ne!(next["runs"], json!([run]));
    assert_eq!(t.lease().await[0]["run"], next["runs"][0]);
    let path = format!("/runs/{run}");
    let token = t.token(roost_edge::auth::token::Audience::Api, DEFAULT_WORKSPACE);
    let (_, shown) = t.api(common::As::Token(&token), "GET", &path, Value::Null).await;
    assert_eq!(
        (&shown["phase"], &shown["waits"]),
        (&json!("waiting"), &json!("poisoned"))
    );
    let id = run.parse().unwrap();
    control::resume(&t.edge, &scope, id, "a user").await.unwrap();
    let rows = scope
        .query(
            "/* all */ SELECT phase, crashes FROM runs WHERE workspace_id = ?1 AND crashes = 0 AND phase = 'queued'",
            [],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn a_paused_run_keeps_its_lane_and_is_given_up_in_the_end() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "one").await;
    let (run, _) = lease(&t).await;
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let id = run.parse().unwrap();
    let soon = control::pause(&t.edge, &scope, id, "a user").await.unwrap();
    assert_eq!(soon, control::Outcome::Soon);
    let told = t.poll("one", json!([{"run": run, "epoch": 1}])).await;
    assert_eq!(told["signals"][0]["type"], "pause");
    let paused = json!([{"type": "paused", "by": "a user", "until": 99_999_999_999_999_i64}]);
    append(&t, &run, 2, paused).await;
    let (_, second) = t.say("e2", "c1", "two").await;
    assert_eq!(second["runs"], json!([run]), "it waits with the run");
    assert_eq!(t.lease().await.len(), 0);
    control::resume(&t.edge, &scope, id, "a user").await.unwrap();
    let (_, resumed) = lease(&t).await;
    assert_eq!(resumed["epoch"], 2);
    let signals = resumed["signals"].as_array().unwrap();
    assert_eq!(
        signals.iter().map(text).collect::<Vec<_>>(),
        ["two"],
        "the pause is over"
    );

    let paused =
        json!({"epoch": 2, "expected_seq": 5, "events": [{"type": "paused", "by": "a user", "until": 0}]});
    let path = format!("/runs/{run}/events");
    control::pause(&t.edge, &scope, id, "a user").await.unwrap();
    let resumed = control::resume(&t.edge, &scope, id, "a user").await.unwrap();
    assert_eq!(resumed, control::Outcome::Now);
    let (status, answer) = t.runner(&path, paused.clone()).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("signal_withdrawn")),
        "what was taken back stops nothing"
    );
    control::pause(&t.edge, &scope, id, "a user").await.unwrap();
    let (status, answer) = t.runner(&path, paused).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    t.runner("/tick", json!({})).await;
    let events = "/* all */ SELECT body ->> '$.reason' FROM events WHERE workspace_id = ?1 AND body ->> '$.type' = 'cancelled'";
    let rows = scope.query(events, []).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "nobody resumed it within 30 days");
    // What it had not read is not lost with it.
    let (_, next) = lease(&t).await;
    assert_eq!(next["journal"][0]["work_item"]["text"], "two");
}
