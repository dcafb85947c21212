//! What a channel could not deliver is brought in afterwards, once: the channel is at the beginning of every test here.

#![allow(clippy::unwrap_used)]

mod github;
mod replayed;
mod telegram;

use std::time::Duration;

use http::Method;
use roost_runner::fixture::{Fixture, Order, Place, Signed};
use roost_tests::{desk::Desk, office::SECRET, process::PATIENCE};
use serde_json::{Value, json};

/// More than the pause between two sweeps.
const PAUSE: Duration = Duration::from_secs(5 * 60 + 1);

fn comment(desk: &Desk, id: u32) -> Signed {
    Fixture::GithubIssueComment.make(&Order {
        secret: SECRET,
        text: "@roost hello",
        id: id.into(),
        now: desk.office.edge.now(),
        place: Place {
            number: id,
            installation: Some(77),
            ..Place::default()
        },
        ..Order::default()
    })
}

async fn integration(desk: &Desk, name: &str) -> Value {
    let (_, all) = desk.api(Method::GET, "/integrations", Value::Null).await;
    let items = all["items"].as_array().unwrap();
    items.iter().find(|one| one["name"] == name).unwrap().clone()
}

/// Gives the integration other settings, and secrets where they are not null.
async fn change(desk: &Desk, name: &str, settings: Value, secrets: Value) {
    let id = integration(desk, name).await["id"].as_str().unwrap().to_owned();
    let mut draft = json!({"name": name, "settings": settings});
    if !secrets.is_null() {
        draft["secrets"] = secrets;
    }
    let (status, answer) = desk.api(Method::PUT, &format!("/integrations/{id}"), draft).await;
    assert!(status.is_success(), "{answer}");
}

/// Ticks, and gives what comes of the integration's sweep.
async fn swept(desk: &Desk, name: &str) -> Value {
    next_report(desk, name, async || desk.tick().await).await
}

/// Does it, and gives what the sweep after that comes to.
async fn next_report(desk: &Desk, name: &str, done: impl AsyncFnOnce()) -> Value {
    let before = integration(desk, name).await["sweep"]["at"].clone();
    done().await;
    let waiting = async {
        loop {
            let report = integration(desk, name).await["sweep"].clone();
            if report["at"] != before && !report["at"].is_null() {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

async fn runs(desk: &Desk) -> i64 {
    let all = "SELECT count(*) FROM runs WHERE workspace_id = ?1";
    desk.office.count(all).await
}

async fn runs_become(desk: &Desk, number: i64) {
    let waiting = async {
        while runs(desk).await < number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{} runs; {}", runs(desk).await, integration(desk, "github").await);
    }
}
