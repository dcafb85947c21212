//! Replies of which nobody knows whether they arrived: looked for where the channel lets us look, asked about where not.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::Method;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::{
    fixture::Fixture,
    standin::{
        github::{GithubFault, Made},
        telegram::TelegramFault,
    },
};
use roost_shared::RunId;
use roost_tests::{desk::Desk, process::PATIENCE, served::ServedDesk};
use serde_json::Value;

/// More than the pause before any look.
const WHILE: Duration = Duration::from_secs(60);

async fn desk(directory: &tempfile::TempDir) -> Desk {
    Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await
}

/// A message comes, and its reply goes out while the channel fails as it was told.
async fn replied(desk: &Desk, fixture: Fixture) -> RunId {
    let (status, answer) = desk.say(&desk.url, fixture, 7).await;
    assert!(status.is_success(), "{answer}");
    desk.reply(&desk.url, "The answer is 42.").await[0]
}

/// Puts the clock forward and ticks, a few times.
async fn wait_a_while(desk: &Desk, times: u32) {
    for _ in 0..times {
        desk.pass(WHILE);
        desk.tick().await;
    }
}

#[tokio::test]
async fn a_comment_whose_answer_was_lost_is_found_by_its_marker() {
    let directory = tempfile::tempdir().unwrap();
    let desk = desk(&directory).await;
    for (number, fixture, fault) in [
        (7, Fixture::GithubIssueComment, GithubFault::CutAfter),
        (8, Fixture::GithubReviewComment, GithubFault::ErrorAfter),
    ] {
        let (status, answer) = desk.say(&desk.url, fixture, number).await;
        assert!(status.is_success(), "{answer}");
        // The sign of receipt takes no fault: it is on its way before.
        let acknowledged = |made: &[Made]| {
            made.iter()
                .any(|made| made.target == u64::from(number))
                .then_some(())
        };
        tokio::time::timeout(PATIENCE, desk.github.until(acknowledged))
            .await
            .unwrap();
        // Comments are listed in pages of a hundred, oldest first: ours is on the last.
        desk.github.others_say("octo/hello", number.into(), 150);
        desk.github.fail_next(fault);
        let run = desk.reply(&desk.url, "The answer is 42.").await[0];
        let doubtful = desk.until(run, "unknown").await;
        assert_eq!(doubtful["waits_for_person"], false, "{doubtful}");

        // GitHub may show it later than it made it: one look that sees nothing proves nothing.
        desk.github.lag_behind(4);
        wait_a_while(&desk, 1).await;
        assert_eq!(desk.effect(run).await["state"], "unknown");
        desk.github.lag_behind(0);
        wait_a_while(&desk, 1).await;
        let found = desk.effect(run).await;
        let ours = answers(&desk, number);
        assert_eq!((&found["state"], ours.len()), (&"sent".into(), 1), "{found}");
        assert_eq!(found["external_id"], ours[0].id.to_string());
    }
}

/// What the agent said on an issue or pull request.
fn answers(desk: &Desk, number: u32) -> Vec<Made> {
    let mut made = desk.github.comments();
    made.retain(|made| made.target == u64::from(number) && made.content.contains("42"));
    made
}

#[tokio::test]
async fn a_comment_that_was_not_made_is_made_once_it_is_sure() {
    let directory = tempfile::tempdir().unwrap();
    let desk = desk(&directory).await;
    let (_, answer) = desk.say(&desk.url, Fixture::GithubIssueComment, 7).await;
    assert_eq!(answer["verdict"], "accepted");
    desk.github.until(|made| (!made.is_empty()).then_some(())).await;
    desk.github.fail_next(GithubFault::ErrorBefore);
    let run = desk.reply(&desk.url, "The answer is 42.").await[0];
    desk.until(run, "unknown").await;
    wait_a_while(&desk, 1).await;
    assert_eq!(
        desk.effect(run).await["state"],
        "unknown",
        "one look is not enough"
    );
    wait_a_while(&desk, 3).await;
    let sent = desk.effect(run).await;
    assert_eq!(
        (&sent["state"], &sent["attempts"]),
        (&"sent".into(), &2.into()),
        "{sent}"
    );
    assert_eq!(desk.github.comments().len(), 1);
}

#[tokio::test]
async fn where_nobody_can_look_a_person_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let desk = desk(&directory).await;
    desk.telegram.fail_next(TelegramFault::CutAfter);
    let run = replied(&desk, Fixture::TelegramMessage).await;
    desk.until(run, "unknown").await;
    wait_a_while(&desk, 3).await;
    let asked = desk.effect(run).await;
    assert_eq!(asked["waits_for_person"], true, "{asked}");
    assert!(
        asked["reason"].as_str().unwrap().contains("look there"),
        "{asked}"
    );
    assert_eq!(desk.telegram.sent().len(), 1, "it is not sent again by itself");
    let (_, notices) = desk.api(Method::GET, "/notices", Value::Null).await;
    assert!(notices.to_string().contains("effects_wait"), "{notices}");
    let effect = asked["id"].as_str().unwrap();
    let decide = async |verb: &str| {
        let path = format!("/effects/{effect}/{verb}");
        desk.api(Method::POST, &path, Value::Null).await
    };
    let (status, sent) = decide("arrived").await;
    assert_eq!((status.as_u16(), &sent["state"]), (200, &"sent".into()), "{sent}");
    for verb in ["arrived", "drop", "replay"] {
        let (status, refusal) = decide(verb).await;
        let code = &refusal["error"]["code"];
        assert_eq!((status.as_u16(), code), (409, &"effect_moved".into()), "{verb}");
    }

    // By the admin, as a signed-in browser does it.
    desk.say(&desk.url, Fixture::TelegramMessage, 9).await;
    desk.telegram.fail_next(TelegramFault::CutAfter);
    let run = desk.reply(&desk.url, "The answer is 42.").await[0];
    desk.until(run, "unknown").await;
    wait_a_while(&desk, 3).await;
    let list = desk.admin(Method::GET, "/admin/effects?state=unknown", "").await;
    let page = format!(
        "/admin/effects/{}",
        desk.effect(run).await["id"].as_str().unwrap()
    );
    assert!(
        list.contains(&page) && list.contains("one reply arrived"),
        "{list}"
    );
    let buttons = desk.admin(Method::GET, &page, "").await;
    for verb in ["arrived", "replay", "drop"] {
        assert!(
            buttons.contains(&format!("action=\"{page}/{verb}\"")),
            "{buttons}"
        );
    }
    desk.admin(Method::POST, &format!("{page}/drop"), "").await;
    let dropped = desk.effect(run).await;
    assert_eq!(
        (&dropped["state"], &dropped["due_at"]),
        (&"failed".into(), &Value::Null),
        "{dropped}"
    );
    assert_eq!(desk.telegram.sent().len(), 2);

    desk.say(&desk.url, Fixture::GithubIssueComment, 8).await;
    desk.github.until(|made| (!made.is_empty()).then_some(())).await;
    desk.github.fail_next(GithubFault::CutAfter);
    desk.github.forbid_reading();
    let run = desk.reply(&desk.url, "The answer is 42.").await[0];
    desk.until(run, "unknown").await;
    wait_a_while(&desk, 3).await;
    let asked = desk.effect(run).await;
    assert_eq!(
        (&asked["state"], &asked["waits_for_person"]),
        (&"unknown".into(), &true.into()),
        "{asked}"
    );
    assert_eq!(desk.github.comments().len(), 1);
    let again = format!("/effects/{}/replay", asked["id"].as_str().unwrap());
    let (status, waiting) = desk.api(Method::POST, &again, Value::Null).await;
    assert_eq!(status.as_u16(), 200, "{waiting}");
    desk.until(run, "sent").await;
    assert_eq!(desk.github.comments().len(), 2, "a person had it sent again");
}

/// The sender is a process, killed while GitHub has the call: once it had made the comment, once it had not.
#[tokio::test]
async fn a_sender_that_was_killed_leaves_one_comment() {
    let served = ServedDesk::open().await;
    let desk = &served.desk;
    for (number, fault) in [
        (1, GithubFault::SilentAfter),
        (2, GithubFault::Slow(Duration::from_secs(3600))),
    ] {
        let mut sender = served.edge();
        let address = sender.address().await;
        let (_, answer) = desk.say(&address, Fixture::GithubIssueComment, number).await;
        assert_eq!(answer["verdict"], "accepted", "{answer}");
        let seen = |made: &[Made]| {
            made.iter()
                .any(|made| made.target == u64::from(number))
                .then_some(())
        };
        tokio::time::timeout(PATIENCE, desk.github.until(seen))
            .await
            .unwrap();
        desk.github.fail_next(fault);
        let run = desk.reply(&address, "The answer is 42.").await[0];
        let asked = format!("/repos/octo/hello/issues/{number}/comments");
        let called = async {
            while !desk.github.requests().iter().any(|(path, _)| *path == asked) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, called).await.unwrap();
        sender.process().kill();
        assert_eq!(desk.effect(run).await["state"], "sending");

        wait_a_while(desk, 6).await;
        let sent = desk.effect(run).await;
        assert_eq!(sent["state"], "sent", "{sent}");
        assert_eq!(answers(desk, number).len(), 1, "{:?}", desk.github.made());
        assert_ne!(sent["external_id"], Value::Null);
    }
}
