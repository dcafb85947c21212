//! A run that failed is tried again by a person's word: it goes on by its journal, under a lease of its own.

#![allow(clippy::unwrap_used)]

mod common;

use common::{As, TestEdge};
use http::StatusCode;
use roost_edge::{auth::token::Audience, edge::DEFAULT_WORKSPACE};
use serde_json::{Value, json};

async fn resume(t: &TestEdge, run: &str) -> (StatusCode, Value) {
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    t.api(
        As::Token(&token),
        "POST",
        &format!("/runs/{run}/resume"),
        json!({}),
    )
    .await
}

/// A run whose model answered once, before it failed by `code`; its journal has 4 events then.
async fn failed(t: &TestEdge, id: &str, code: &str) -> String {
    t.say(id, id, "please look").await;
    let run = t.lease().await[0]["run"].as_str().unwrap().to_owned();
    let usage = json!({"input": 1, "output": 1, "cache_read": 0, "cache_write": 0});
    let answered = json!({"type": "model_answered", "model": "m", "blocks": [{"type": "tool_call", "id": "c", "name": "bash",
        "input": {}}], "stop": "tool_use", "usage": usage, "cost": 1, "first_byte_ms": 1, "took_ms": 1});
    t.append(
        &run,
        2,
        json!([answered, {"type": "failed", "code": code, "message": "x"}]),
    )
    .await;
    run
}

#[tokio::test]
async fn a_failed_run_goes_on_by_its_journal_and_replies_once() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let run = failed(&t, "c1", "model_key_refused").await;
    // Its lane was free meanwhile.
    t.say("after", "c1", "and this?").await;
    let between = t.lease().await[0]["run"].as_str().unwrap().to_owned();

    let (status, said) = resume(&t, &run).await;
    assert_eq!((status, &said["status"]), (StatusCode::OK, &json!("resumed")));
    let (status, said) = resume(&t, &run).await;
    assert_eq!(
        (status, &said["error"]["code"]),
        (StatusCode::CONFLICT, &json!("run_not_waiting"))
    );
    let view = async |path: String| {
        let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
        t.api(As::Token(&token), "GET", &path, Value::Null).await.1
    };
    let seen = view(format!("/runs/{run}")).await;
    assert_eq!(
        (&seen["phase"], &seen["outcome"]),
        (&json!("queued"), &Value::Null)
    );
    assert!(t.lease().await.is_empty(), "another one of its lane is at work");

    t.append(&between, 2, json!([{"type": "completed", "reply": "later"}]))
        .await;
    let lease = t.lease().await[0].clone();
    let journal: Vec<&str> = lease["journal"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!((&lease["run"], &lease["epoch"]), (&json!(run), &json!(2)));
    assert_eq!(
        journal.join(" "),
        "opened leased model_answered failed resumed leased"
    );
    let path = format!("/runs/{run}/events");
    let end = |epoch: u64, events: Value| json!({"epoch": epoch, "expected_seq": 6, "events": events});
    let replied = json!([{"type": "completed", "reply": "done"}]);
    let (status, answer) = t.runner(&path, end(1, replied.clone())).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("stale_lease"))
    );
    let own_word =
        json!([{"type": "failed", "code": "x", "message": "x"}, {"type": "resumed", "by": "a runner"}]);
    let (status, answer) = t.runner(&path, end(2, own_word)).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("illegal_event"))
    );
    for _ in 0..2 {
        let (status, answer) = t.runner(&path, end(2, replied.clone())).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let replies = "SELECT count(*) FROM effects WHERE workspace_id = ?1 AND run_id = ?2";
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let rows = scope.query(replies, [run.clone().into()]).await.unwrap();
    assert_eq!(rows[0].integer(0).unwrap(), 1);
    let (status, said) = resume(&t, &run).await;
    assert_eq!(
        (status, &said["error"]["code"]),
        (StatusCode::CONFLICT, &json!("run_ended"))
    );
}

#[tokio::test]
async fn a_run_that_would_fail_again_is_not_tried() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    for code in ["turn_limit", "cost_limit", "model_refused"] {
        let run = failed(&t, code, code).await;
        let (status, said) = resume(&t, &run).await;
        assert_eq!(
            (status, &said["error"]["code"]),
            (StatusCode::CONFLICT, &json!("run_fails_again"))
        );
    }
    assert!(t.lease().await.is_empty());
}
