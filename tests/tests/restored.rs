//! What a restored database does not know is not done twice: what was sent since its backup, the runs that went on, the leases
//! that were taken, and what the channels delivered.

#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use http::Method;
use roost_edge::{
    db::{
        backup::{self, Restored},
        restored::{Doubts, Since},
    },
    host::native::DatabaseAddress,
};
use roost_runner::{
    fixture::Fixture,
    standin::{
        github::{GithubFault, HookOf, MadeKind},
        telegram::TelegramFault,
    },
};
use roost_shared::{RunId, event::EventBody, wire::PollResponse};
use roost_tests::{desk::Desk, office::BOT, process::PATIENCE};
use serde_json::{Value, json};

/// More than the pause before any look, and before any attempt.
const WHILE: Duration = Duration::from_secs(60);

fn file(directory: &Path, name: &str) -> DatabaseAddress {
    DatabaseAddress::File(directory.join(name))
}

/// Restores the backup beside the database, and lets the desk go on with that.
async fn restore(desk: &mut Desk, directory: &Path, since: Since) -> Restored {
    let (database, aside) = (directory.join("restored.db"), directory.join("aside.db"));
    let now = desk.office.edge.now();
    let restored = backup::restore(&directory.join("backup.db"), (&database, &aside), since, now).unwrap();
    desk.go_on_with(&file(directory, "restored.db")).await;
    restored
}

async fn wait_a_while(desk: &Desk, times: u32) {
    for _ in 0..times {
        desk.pass(WHILE);
        desk.tick().await;
    }
}

/// The comments on an issue of the stand-in.
fn comments(desk: &Desk, number: u64) -> usize {
    let made = desk.github.made();
    let here = made.iter().filter(|made| made.kind == MadeKind::Comment);
    here.filter(|made| made.target == number).count()
}

/// A message comes, and its reply does not go out yet.
async fn waiting(desk: &Desk, fixture: Fixture, number: u32) -> RunId {
    let (status, answer) = desk.say(&desk.url, fixture, number).await;
    assert!(status.is_success(), "{answer}");
    let retry_after = Duration::from_secs(5);
    if fixture == Fixture::TelegramMessage {
        desk.telegram.fail_next(TelegramFault::TooMany { retry_after });
    } else {
        let acknowledged = |made: &[roost_runner::standin::github::Made]| (!made.is_empty()).then_some(());
        tokio::time::timeout(PATIENCE, desk.github.until(acknowledged))
            .await
            .unwrap();
        desk.github.fail_next(GithubFault::SecondaryLimit { retry_after });
    }
    let run = desk.reply(&desk.url, "The answer is 42.").await[0];
    let tried = async {
        while desk.effect(run).await["reason"].is_null() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap();
    run
}

#[tokio::test]
async fn a_reply_that_was_sent_after_the_backup_is_found_and_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut desk = Desk::open(&file(directory, "roost.db")).await;
    let on_github = waiting(&desk, Fixture::GithubIssueComment, 7).await;
    let on_telegram = waiting(&desk, Fixture::TelegramMessage, 9).await;
    backup::back_up(&directory.join("roost.db"), &directory.join("backup.db")).unwrap();
    wait_a_while(&desk, 1).await;
    for run in [on_github, on_telegram] {
        desk.until(run, "sent").await;
    }
    assert_eq!((comments(&desk, 7), desk.telegram.sent().len()), (1, 1));

    let restored = restore(&mut desk, directory, Since::Unknown).await;
    let doubts = Doubts {
        replies_in_doubt: 2,
        runs_paused: 0,
    };
    assert_eq!(restored.doubts, doubts);
    assert_eq!(desk.effect(on_github).await["code"], "restored");
    wait_a_while(&desk, 4).await;
    let found = desk.effect(on_github).await;
    assert_eq!(found["state"], "sent", "{found}");
    assert_ne!(found["external_id"], Value::Null);
    let asked = desk.effect(on_telegram).await;
    assert_eq!(
        (&asked["state"], &asked["waits_for_person"]),
        (&"unknown".into(), &true.into()),
        "{asked}"
    );
    assert_eq!((comments(&desk, 7), desk.telegram.sent().len()), (1, 1));
}

#[tokio::test]
async fn a_reply_that_was_not_sent_is_looked_for_and_sent() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut desk = Desk::open(&file(directory, "roost.db")).await;
    let run = waiting(&desk, Fixture::GithubIssueComment, 7).await;
    backup::back_up(&directory.join("roost.db"), &directory.join("backup.db")).unwrap();
    restore(&mut desk, directory, Since::Unknown).await;
    desk.tick().await;
    assert_eq!(
        (comments(&desk, 7), &desk.effect(run).await["state"]),
        (0, &"unknown".into())
    );
    wait_a_while(&desk, 4).await;
    assert_eq!(
        (comments(&desk, 7), &desk.effect(run).await["state"]),
        (1, &"sent".into()),
        "{}",
        desk.effect(run).await
    );
}

/// A run is under way in the backup, and its runner goes on after it.
#[tokio::test]
async fn a_run_waits_for_a_person_and_its_earlier_runner_can_write_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut desk = Desk::open(&file(directory, "roost.db")).await;
    desk.say(&desk.url, Fixture::GithubIssueComment, 7).await;
    let poll = json!({"runner": "desk", "room": 1, "held": [], "wait_ms": 0});
    let polled = |answer: Value| serde_json::from_value::<PollResponse>(answer).unwrap();
    let first = polled(desk.runner(&desk.url, "/poll", &poll).await.1)
        .leases
        .remove(0);
    backup::back_up(&directory.join("roost.db"), &directory.join("backup.db")).unwrap();
    // The lease runs out, and the same runner takes the run again: its epoch is one that the restored run could come to.
    desk.pass(Duration::from_secs(31));
    let zombie = polled(desk.runner(&desk.url, "/poll", &poll).await.1)
        .leases
        .remove(0);
    assert_eq!((zombie.run, zombie.epoch), (first.run, first.epoch + 1));

    let restored = restore(&mut desk, directory, Since::Unknown).await;
    assert_eq!(restored.doubts.runs_paused, 1);
    let run = format!("/runs/{}", first.run);
    let (_, shown) = desk.api(Method::GET, &run, Value::Null).await;
    assert_eq!(
        (&shown["phase"], &shown["waits"]),
        (&"waiting".into(), &"paused".into()),
        "{shown}"
    );
    let none = polled(desk.runner(&desk.url, "/poll", &poll).await.1);
    assert_eq!(none.leases.len(), 0, "nobody resumed it");
    let held = json!({"runner": "desk", "room": 0, "held": [{"run": zombie.run, "epoch": zombie.epoch}], "wait_ms": 0});
    assert_eq!(
        polled(desk.runner(&desk.url, "/poll", &held).await.1).lost,
        [zombie.run]
    );

    let (status, _) = desk
        .api(Method::POST, &format!("{run}/resume"), Value::Null)
        .await;
    assert!(status.is_success());
    let lease = polled(desk.runner(&desk.url, "/poll", &poll).await.1)
        .leases
        .remove(0);
    assert!(lease.epoch > zombie.epoch + 1_000_000, "{}", lease.epoch);
    // At whatever place of the journal it believes to be.
    let completed = EventBody::Completed {
        reply: Some("The answer is 41.".to_owned()),
    };
    for expected_seq in 0..8 {
        let append = json!({"epoch": zombie.epoch, "expected_seq": expected_seq, "events": [completed]});
        let path = format!("{run}/events");
        let (status, refused) = desk.runner(&desk.url, &path, &append).await;
        assert_eq!(
            (status.as_u16(), &refused["error"]["code"]),
            (409, &"stale_lease".into())
        );
    }
    let completed = EventBody::Completed {
        reply: Some("The answer is 42.".to_owned()),
    };
    let append = json!({"epoch": lease.epoch, "expected_seq": lease.journal.len(), "events": [completed]});
    let (status, answer) = desk.runner(&desk.url, &format!("{run}/events"), &append).await;
    assert!(status.is_success(), "{answer}");
    desk.until(lease.run, "sent").await;
    assert_eq!(comments(&desk, 7), 1);
}

/// One delivery is in the backup, one was answered after it, and one came when nobody was there.
#[tokio::test]
async fn what_github_delivered_since_the_backup_is_fetched_and_what_was_answered_waits_for_a_person() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut desk = Desk::open(&file(directory, "roost.db")).await;
    let (_, all) = desk.api(Method::GET, "/integrations", Value::Null).await;
    let github = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "github");
    let id = github.unwrap()["id"].as_str().unwrap().to_owned();
    let settings = json!({
        "channel": "github", "api_url": desk.github.url(), "bot_login": BOT, "repositories": ["octo/hello"],
    });
    let draft = json!({"name": "github", "settings": settings});
    desk.api(Method::PUT, &format!("/integrations/{id}"), draft).await;
    let of = HookOf::Repository("octo/hello".to_owned());
    let hook = |desk: &Desk| {
        desk.github
            .set_hook(of.clone(), &format!("{}/hooks/main/github", desk.url));
    };
    let comment = |desk: &Desk, number| desk.signed(Fixture::GithubIssueComment, number);
    hook(&desk);
    assert_eq!(desk.github.deliver(comment(&desk, 1)).await, 200);
    backup::back_up(&directory.join("roost.db"), &directory.join("backup.db")).unwrap();
    assert_eq!(desk.github.deliver(comment(&desk, 2)).await, 200);
    desk.github
        .fail_deliveries(roost_runner::standin::github::DeliveryFault::Unreachable, 1);
    assert_eq!(desk.github.deliver(comment(&desk, 3)).await, 502);

    // GitHub writes down whole seconds.
    desk.pass(Duration::from_secs(2));
    restore(&mut desk, directory, Since::Unknown).await;
    hook(&desk);
    desk.tick().await;
    let swept = async {
        loop {
            let (_, shown) = desk
                .api(Method::GET, &format!("/integrations/{id}"), Value::Null)
                .await;
            if shown["sweep"]["brought_in"] == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.unwrap();
    let (_, deliveries) = desk.api(Method::GET, "/deliveries", Value::Null).await;
    let deliveries = deliveries["items"].as_array().unwrap();
    let verdicts: Vec<&str> = deliveries
        .iter()
        .map(|one| one["verdict"].as_str().unwrap())
        .collect();
    let count = |verdict: &str| verdicts.iter().filter(|one| **one == verdict).count();
    assert_eq!((count("accepted"), count("ignored")), (2, 1), "{deliveries:?}");
    let runs = "SELECT count(*) FROM runs WHERE workspace_id = ?1";
    assert_eq!(desk.office.count(runs).await, 2);

    let answered = deliveries.iter().find(|one| one["verdict"] == "ignored").unwrap();
    assert!(
        answered["reason"].as_str().unwrap().contains("after the backup"),
        "{answered}"
    );
    let path = format!("/deliveries/{}/replay", answered["id"].as_str().unwrap());
    let (_, replayed) = desk.api(Method::POST, &path, Value::Null).await;
    assert_eq!(replayed["runs"].as_array().unwrap().len(), 1, "{replayed}");
    assert_eq!(desk.office.count(runs).await, 3);
}
