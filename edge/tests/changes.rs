//! Messages that are edited or deleted: before work on them begins, meanwhile, and afterwards.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    As, TestEdge,
    github::{self, Comment},
};
use http::StatusCode;
use roost_edge::{auth::token::Audience, edge::DEFAULT_WORKSPACE};
use serde_json::{Value, json};

/// An edge with a GitHub integration that ada listens to.
async fn office() -> TestEdge {
    let t = TestEdge::new().await;
    let (ada, _) = t.employ("ada").await;
    github::connect(&t, ada.id).await;
    t
}

/// Something happens to comment `id`; `delivery` is GitHub's id of that.
async fn comment(t: &TestEdge, delivery: &str, action: &str, id: u64, text: &str) -> Value {
    let comment = Comment {
        delivery,
        action,
        issue: 5,
        id,
        text,
        association: "MEMBER",
    };
    github::tell(t, comment).await
}

fn changes(signals: &Value) -> Vec<(&str, &str)> {
    let signals = signals.as_array().unwrap().iter();
    signals
        .map(|signal| {
            let text = signal["work_item"]["text"].as_str();
            (signal["change"].as_str().unwrap(), text.unwrap())
        })
        .collect()
}

#[tokio::test]
async fn an_edit_reaches_the_run_as_long_as_it_is_open() {
    let t = office().await;
    let said = comment(&t, "d1", "created", 7, "paint it red").await;
    let edited = comment(&t, "d2", "edited", 7, "paint it green").await;
    assert_eq!(edited["runs"], said["runs"], "{edited}");
    let again = comment(&t, "d2", "edited", 7, "paint it green").await;
    assert_eq!(again["verdict"], "duplicate");
    let lease = t.lease().await[0].clone();
    assert_eq!(changes(&lease["signals"]), [("edited", "paint it green")]);
    let run = lease["run"].as_str().unwrap();
    let other = comment(&t, "d3", "edited", 8, "somebody else's").await;
    assert_eq!(
        (&other["verdict"], &other["reason"]),
        (&json!("ignored"), &json!("no open run has this message"))
    );
    comment(&t, "d4", "deleted", 7, "paint it green").await;
    let told = t.poll("one", json!([{"run": run, "epoch": 1}])).await;
    // The edit was not read yet: it goes with the message.
    assert_eq!(changes(&told["signals"]), [("deleted", "paint it green")]);
    t.append(run, 2, json!([{"type": "failed", "code": "x", "message": "x"}]))
        .await;
    assert_eq!(
        t.lease().await.len(),
        0,
        "what became of a message begins nothing"
    );
    let late = comment(&t, "d5", "edited", 7, "too late").await;
    assert_eq!(late["verdict"], "ignored");
}

#[tokio::test]
async fn a_run_that_failed_hears_when_it_is_tried_again_what_it_was_told_before() {
    let t = office().await;
    comment(&t, "d1", "created", 7, "paint it red").await;
    let run = t.lease().await[0]["run"].as_str().unwrap().to_owned();
    let fail = json!([{"type": "failed", "code": "model_key_refused", "message": "x"}]);
    // Both come while the call is under way that fails.
    let edited = comment(&t, "d2", "edited", 7, "paint it green").await;
    assert_eq!(edited["runs"], json!([run]));
    comment(&t, "d3", "created", 9, "and then dry it").await;
    t.append(&run, 2, fail.clone()).await;
    comment(&t, "d4", "edited", 7, "too late").await;
    let next = t.lease().await[0].clone();
    let begun = &next["journal"][0]["work_item"]["text"];
    assert_eq!((begun, &next["signals"]), (&json!("and then dry it"), &json!([])));
    let path = next["run"].as_str().unwrap();
    t.append(path, 2, json!([{"type": "completed", "reply": "dry"}]))
        .await;

    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let path = format!("/runs/{run}/resume");
    let (status, said) = t.api(As::Token(&token), "POST", &path, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let again = t.lease().await[0].clone();
    assert_eq!(again["run"], json!(run));
    assert_eq!(changes(&again["signals"]), [("edited", "paint it green")]);
}

#[tokio::test]
async fn a_deletion_before_work_has_begun_cancels_and_takes_back_what_nobody_has_read() {
    let t = office().await;
    let said = comment(&t, "d1", "created", 7, "paint it red").await;
    let deleted = comment(&t, "d2", "deleted", 7, "paint it red").await;
    assert_eq!(deleted["runs"], said["runs"]);
    assert_eq!(t.lease().await.len(), 0);

    comment(&t, "d3", "created", 9, "one").await;
    let lease = t.lease().await[0].clone();
    comment(&t, "d4", "created", 10, "my password is x").await;
    let held = json!([{"run": lease["run"], "epoch": 1}]);
    let heard = t.poll("one", held.clone()).await["signals"][0].clone();
    comment(&t, "d5", "deleted", 10, "my password is x").await;
    assert_eq!(t.poll("one", held).await["signals"], json!([]));
    // The runner had heard it already, and can't write it down any more.
    let event = json!({"type": "steered", "signal": heard["id"], "work_item": heard["work_item"]});
    let path = format!("/runs/{}/events", lease["run"].as_str().unwrap());
    let append = json!({"epoch": 1, "expected_seq": 2, "events": [event]});
    let (status, answer) = t.runner(&path, append).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("signal_withdrawn"))
    );
}
