//! Sending that fails for long is paused and loses nothing; what failed is sent again when a person says so.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::Method;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::{fixture::Fixture, standin::telegram::TelegramFault};
use roost_shared::RunId;
use roost_tests::{desk::Desk, process::PATIENCE};
use serde_json::{Value, json};

async fn desk(directory: &tempfile::TempDir) -> Desk {
    Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await
}

async fn get(desk: &Desk, path: &str) -> Value {
    desk.api(Method::GET, path, Value::Null).await.1
}

async fn integration(desk: &Desk, name: &str) -> Value {
    let all = get(desk, "/integrations").await;
    let items = all["items"].as_array().unwrap();
    items.iter().find(|one| one["name"] == name).unwrap().clone()
}

async fn replied(desk: &Desk, fixture: Fixture, number: u32, reply: &str) -> RunId {
    let (status, answer) = desk.say(&desk.url, fixture, number).await;
    assert!(status.is_success(), "{answer}");
    desk.reply(&desk.url, reply).await[0]
}

#[tokio::test]
async fn a_refused_credential_pauses_at_once_and_what_waited_goes_out_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let desk = desk(&directory).await;
    desk.github.revoke_token();
    // Two comments of one reply, then other conversations.
    let long = format!("first {}\n\nsecond {}", "a ".repeat(20_000), "b ".repeat(20_000));
    replied(&desk, Fixture::GithubIssueComment, 1, &long).await;
    replied(&desk, Fixture::GithubIssueComment, 2, "The answer is 42.").await;
    let paused = async {
        loop {
            let one = integration(&desk, "github").await;
            if !one["sending"]["paused_at"].is_null() {
                return one;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let one = tokio::time::timeout(PATIENCE, paused).await.unwrap();
    assert_eq!(
        (&one["enabled"], &one["sending"]["code"]),
        (&true.into(), &"channel_unauthorized".into())
    );
    let notices = get(&desk, "/notices").await;
    assert!(notices.to_string().contains("sending_paused"), "{notices}");

    // Its webhooks still come in, and an hour of ticks sends nothing and gives nothing up.
    replied(&desk, Fixture::GithubIssueComment, 3, "Still here.").await;
    for _ in 0..60 {
        desk.pass(Duration::from_secs(61));
        desk.tick().await;
    }
    assert!(desk.github.comments().is_empty());
    desk.github.restore_token();
    desk.tick().await;
    assert!(desk.github.comments().is_empty(), "only a person resumes it");
    let resume = format!("/integrations/{}/resume", one["id"].as_str().unwrap());
    let (status, resumed) = desk.api(Method::POST, &resume, Value::Null).await;
    assert_eq!(
        (status.as_u16(), &resumed["waiting"]),
        (200, &7.into()),
        "{resumed}"
    );
    // Three of the seven are signs of receipt, which would come too late now.
    let all = desk.github.until(|made| {
        let comments: Vec<_> = made
            .iter()
            .filter(|made| made.content.contains("roost:"))
            .cloned()
            .collect();
        (comments.len() == 4).then_some(comments)
    });
    let comments = tokio::time::timeout(PATIENCE, all).await.unwrap();
    let parts: Vec<_> = comments.iter().filter(|made| made.target == 1).collect();
    assert!(parts[0].content.starts_with("first") && parts[1].content.starts_with("second"));
    desk.tick().await;
    let notices = get(&desk, "/notices").await.to_string();
    assert!(!notices.contains("sending_paused"), "{notices}");
    assert_eq!(desk.github.comments().len(), 4);
}

#[tokio::test]
async fn failures_that_last_pause_and_the_dead_letters_are_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let desk = desk(&directory).await;
    let mut runs = Vec::new();
    for number in 1..=20 {
        if number == 20 {
            assert_eq!(
                integration(&desk, "telegram").await["sending"]["paused_at"],
                Value::Null
            );
            desk.pass(Duration::from_secs(3700));
        }
        desk.telegram.fail_next(TelegramFault::Blocked);
        let run = replied(&desk, Fixture::TelegramMessage, number, "The answer is 42.").await;
        desk.until(run, "failed").await;
        runs.push(run);
    }
    let one = integration(&desk, "telegram").await;
    let id = one["id"].as_str().unwrap();
    assert_eq!(
        (&one["sending"]["failures"], &one["sending"]["code"]),
        (&20.into(), &"channel_forbidden".into())
    );
    assert_ne!(one["sending"]["paused_at"], Value::Null, "{one}");
    let waiting = replied(&desk, Fixture::TelegramMessage, 21, "The answer is 42.").await;
    assert_eq!(desk.effect(waiting).await["state"], "pending");
    desk.api(Method::POST, &format!("/integrations/{id}/resume"), Value::Null)
        .await;
    desk.until(waiting, "sent").await;

    // One by the admin, as a signed-in browser does it.
    let dead = get(&desk, &format!("/effects?state=failed&integration={id}")).await;
    assert_eq!(dead["items"].as_array().unwrap().len(), 20);
    let first = desk.effect(runs[0]).await;
    let page = desk.admin(Method::GET, "/admin/effects?state=failed", "").await;
    assert!(
        page.contains("Send all that failed again") && page.contains("The answer is 42."),
        "{page}"
    );
    let one = format!("/admin/effects/{}", first["id"].as_str().unwrap());
    assert!(desk.admin(Method::GET, &one, "").await.contains("Send it again"));
    desk.admin(Method::POST, &format!("{one}/replay"), "").await;
    let again = desk.until(runs[0], "sent").await;
    assert_eq!(
        (&again["id"], &again["attempts"]),
        (&first["id"], &2.into()),
        "the same effect"
    );

    // One by the API, some by their time, the rest by their integration.
    let (_, some) = desk
        .api(
            Method::POST,
            "/effects/replay",
            json!({"ids": [desk.effect(runs[1]).await["id"]]}),
        )
        .await;
    assert_eq!(some["replayed"], 1);
    let until = desk.effect(runs[10]).await["created_at"].clone();
    let (_, span) = desk
        .api(
            Method::POST,
            "/effects/replay",
            json!({"from": 0, "until": until}),
        )
        .await;
    assert_eq!(span["replayed"], 8, "those of runs 2 to 9");
    let (_, rest) = desk
        .api(Method::POST, "/effects/replay", json!({"integration": id}))
        .await;
    assert_eq!(rest["replayed"], 10);
    for run in &runs {
        desk.until(*run, "sent").await;
    }
    assert_eq!(desk.telegram.sent().len(), 21, "each once");
    let (status, nothing) = desk.api(Method::POST, "/effects/replay", json!({})).await;
    assert_eq!(
        (status.as_u16(), &nothing["error"]["code"]),
        (400, &"invalid_request".into())
    );
}
