//! What a person does from a terminal, through the public API of a real edge: see runs and effects, and decide about them.

#![allow(clippy::unwrap_used)]

use std::{
    process::{Command, Output},
    time::Duration,
};

use http::Method;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::{fixture::Fixture, standin::telegram::TelegramFault};
use roost_shared::wire::PollResponse;
use roost_tests::{desk::Desk, office::MASTER_KEY, roost_binary};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A terminal of somebody who has the edge's master key.
struct Terminal<'a>(&'a Desk);

impl Terminal<'_> {
    async fn roost(&self, line: &str) -> Output {
        self.begins(line).await.unwrap()
    }

    /// A command that goes on beside the others.
    fn begins(&self, line: &str) -> JoinHandle<Output> {
        let mut command = Command::new(roost_binary());
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("ROOST_EDGE_URL", &self.0.url)
            .env("ROOST_MASTER_KEY", MASTER_KEY);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    }

    /// What a command prints that goes well.
    async fn said(&self, line: &str) -> String {
        said(line, &self.roost(line).await)
    }

    async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.said(&format!("{line} --json")).await).unwrap()
    }

    /// The code and the sentence of a command that fails.
    async fn refused(&self, line: &str) -> (String, String) {
        let output = self.roost(&format!("{line} --json")).await;
        assert_eq!(output.status.code(), Some(1), "{line}");
        let said: Value = serde_json::from_slice(&output.stderr).unwrap();
        let of = |key| said["error"][key].as_str().unwrap().to_owned();
        (of("code"), of("message"))
    }
}

/// What a command printed that went well.
fn said(line: &str, output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The word of a line of a journal that begins an event, after its seq and its time.
fn word_of_an_event(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let is_event = line.starts_with("  ") && words.next()?.parse::<u64>().is_ok();
    line.get(20..)?.split_whitespace().next().filter(|_| is_event)
}

/// As a runner, takes the run that waits, and writes events into its journal.
async fn works(desk: &Desk, events: &Value) {
    let poll = json!({ "runner": "desk", "room": 1, "held": [], "wait_ms": 0 });
    let (_, polled) = desk.runner(&desk.url, "/poll", &poll).await;
    let polled: PollResponse = serde_json::from_value(polled).unwrap();
    let lease = &polled.leases[0];
    let append = json!({ "epoch": lease.epoch, "expected_seq": lease.journal.len(), "events": events });
    let (status, answer) = desk
        .runner(&desk.url, &format!("/runs/{}/events", lease.run), &append)
        .await;
    assert!(status.is_success(), "{answer}");
}

#[tokio::test]
async fn runs_are_seen_paused_answered_tried_again_and_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let terminal = Terminal(&desk);
    assert_eq!(terminal.said("runs").await, "");
    let (_, first) = desk.say(&desk.url, Fixture::GithubIssueComment, 1).await;
    let run = first["runs"][0].as_str().unwrap();
    let listed = terminal.said("runs --phase queued --agent roost").await;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("RUN ") && lines.len() == 2, "{listed}");
    assert!(
        lines[1].starts_with(&format!("{run}  queued  roost  octo/hello#1 ")),
        "{listed}"
    );

    assert_eq!(
        terminal.json(&format!("runs pause {run}")).await,
        json!({ "run": run, "status": "paused" })
    );
    let shown = terminal.said(&format!("runs show {run}")).await;
    assert!(
        shown.contains("waiting: paused\n") && shown.contains("paused by owner; "),
        "{shown}"
    );
    terminal.said(&format!("runs resume {run}")).await;
    let followed = terminal.begins(&format!("runs follow {run}"));

    // What an agent asks may be anything, an escape sequence too.
    let question =
        json!({ "call": "c1", "text": "Was \u{1b}[31mrm -r x\u{1b}[0m done?", "options": ["done", "skip"] });
    let answer = json!({ "type": "model_answered", "model": "test", "stop": "tool_use", "usage": {}, "cost": 0,
        "first_byte_ms": 1, "took_ms": 2, "blocks": [
            { "type": "text", "text": "I clean up." },
            { "type": "tool_call", "id": "c1", "name": "bash", "input": { "command": "rm -r x" } }] });
    let started = json!({ "type": "tool_started", "call": "c1", "class": "at_most_once" });
    let asked =
        json!({ "type": "asked", "question": question, "until": desk.office.edge.now().0 + 86_400_000 });
    works(&desk, &json!([answer, started, asked])).await;
    let shown = terminal.said(&format!("runs show {run}")).await;
    for expected in [
        "state     waiting: asked\n",
        "question  Was rm -r x done?\n",
        &format!("to do     roost runs answer {run} CHOICE: done (it was done), skip (don't run it)\n"),
        "→ bash rm -r x\n",
        "starts       bash, once at most\n",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'));
    assert_eq!(
        terminal.refused(&format!("runs resume {run}")).await.0,
        "answer_wanted"
    );
    terminal
        .said(&format!("runs answer {run} done --text thanks"))
        .await;
    assert_eq!(
        terminal.refused(&format!("runs answer {run} done")).await.0,
        "no_question"
    );

    works(
        &desk,
        &json!([{ "type": "failed", "code": "model_key_refused", "message": "Set a valid key." }]),
    )
    .await;
    let followed = said("runs follow", &followed.await.unwrap());
    let events: Vec<&str> = followed.lines().filter_map(word_of_an_event).collect();
    assert_eq!(
        events.join(" "),
        "opened paused resumed leased model starts asked resumed leased failed",
        "{followed}"
    );
    let lines = terminal.said(&format!("runs follow {run} --json")).await;
    assert_eq!(lines.lines().count(), events.len(), "{lines}");
    let shown = terminal.json(&format!("runs show {run}")).await;
    assert_eq!(shown["phase"], "failed");
    assert_eq!(shown["journal"][0]["type"], "opened");
    let listed = terminal.said("runs list --phase failed").await;
    assert!(listed.contains("failed: model_key_refused"), "{listed}");
    terminal.said(&format!("runs resume {run}")).await;
    assert_eq!(terminal.json("runs").await["items"][0]["phase"], "queued");
    terminal.said(&format!("runs cancel {run}")).await;
    assert_eq!(
        terminal.refused(&format!("runs cancel {run}")).await.0,
        "run_ended"
    );
    assert_eq!(
        terminal.refused("runs follow 01J9ZD6M5N0000000000000000").await.0,
        "not_found"
    );

    desk.say(&desk.url, Fixture::GithubIssueComment, 2).await;
    let newest = terminal.json("runs --limit 1").await;
    let newer = newest["next"].as_str().unwrap();
    assert_eq!(newest["items"][0]["id"], newer);
    let older = terminal.json(&format!("runs --before {newer}")).await;
    assert_eq!(
        (
            older["items"][0]["id"].as_str(),
            older["items"].as_array().unwrap().len()
        ),
        (Some(run), 1)
    );
}

#[tokio::test]
async fn what_failed_is_seen_and_sent_again_and_what_nobody_heard_is_routed_again() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let terminal = Terminal(&desk);
    let mut failed = Vec::new();
    for number in 1..=3 {
        desk.telegram.fail_next(TelegramFault::Blocked);
        desk.say(&desk.url, Fixture::TelegramMessage, number).await;
        let run = desk.reply(&desk.url, "The answer is 42.").await[0];
        let effect = desk.until(run, "failed").await;
        failed.push((run, effect["id"].as_str().unwrap().to_owned()));
    }
    let listed = terminal
        .said("effects --state failed --integration telegram")
        .await;
    assert!(listed.contains("  failed: channel_forbidden  1 "), "{listed}");
    assert_eq!(listed.matches("The answer is 42.").count(), 3, "{listed}");

    let (run, effect) = &failed[0];
    let again = terminal.said(&format!("effects replay {effect}")).await;
    assert!(again.contains("owner has it sent again"), "{again}");
    desk.until(*run, "sent").await;
    let (refused, _) = terminal.refused(&format!("effects drop {effect}")).await;
    assert_eq!(refused, "effect_moved");
    assert_eq!(
        terminal
            .said("effects replay --integration telegram --from 2h")
            .await,
        "2 effects sent again\n"
    );
    for (run, _) in &failed {
        desk.until(*run, "sent").await;
    }
    assert_eq!(
        terminal.json("effects replay --all").await,
        json!({ "replayed": 0 })
    );

    let (_, subscriptions) = desk.api(Method::GET, "/subscriptions", Value::Null).await;
    for subscription in subscriptions["items"].as_array().unwrap() {
        let path = format!("/subscriptions/{}", subscription["id"].as_str().unwrap());
        desk.api(Method::DELETE, &path, Value::Null).await;
    }
    desk.say(&desk.url, Fixture::GithubIssueComment, 9).await;
    for subscription in subscriptions["items"].as_array().unwrap() {
        desk.api(Method::POST, "/subscriptions", subscription.clone())
            .await;
    }
    let ignored = terminal.json("deliveries --verdict ignored").await;
    let delivery = ignored["items"][0]["id"].as_str().unwrap();
    let replayed = terminal.said("deliveries replay --from 1h").await;
    assert!(
        replayed.starts_with(&format!("{delivery}: taken up by ")),
        "{replayed}"
    );
    let replayed = terminal.said(&format!("deliveries replay {delivery}")).await;
    assert!(replayed.contains("has had it"), "{replayed}");
    desk.reply(&desk.url, "Done.").await;

    // Telegram can't be read back: whether this one arrived, only a person can tell.
    desk.say(&desk.url, Fixture::TelegramMessage, 4).await;
    desk.telegram.fail_next(TelegramFault::CutAfter);
    let run = desk.reply(&desk.url, "The answer is 43.").await[0];
    desk.until(run, "unknown").await;
    for _ in 0..3 {
        desk.pass(Duration::from_secs(60));
        desk.tick().await;
    }
    let listed = terminal.json("effects --state unknown").await;
    let effect = listed["items"][0]["id"].as_str().unwrap();
    let shown = terminal.said(&format!("effects show {effect}")).await;
    assert!(
        shown.contains("unknown: asks you") && shown.contains(&format!("`roost effects arrived {effect}`")),
        "{shown}"
    );
    assert_eq!(
        terminal.json("effects replay --all").await,
        json!({ "replayed": 0 })
    );
    let settled = terminal.json(&format!("effects arrived {effect}")).await;
    assert_eq!(settled["state"], "sent");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let terminal = Terminal(&desk);
    let other_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (line, code, sentence) in [
        (
            "runs show 01J9ZD6M5N0000000000000000",
            "not_found",
            "there is no run 01J9ZD6M5N0000000000000000 here; look for it in the list",
        ),
        (
            "runs --agent nobody",
            "name_unknown",
            "\"nobody\" is none of the agents; there are roost",
        ),
        (
            "runs --edge http://127.0.0.1:1",
            "edge_unreachable",
            "start the edge (`roost up`), or say where",
        ),
        (
            "runs --token x",
            "token_invalid",
            "`roost token api --name NAME` makes one",
        ),
        (
            &format!("runs --master-key {other_key}"),
            "token_invalid",
            "give it by ROOST_TOKEN",
        ),
    ] {
        let (refused, message) = terminal.refused(line).await;
        assert_eq!(refused, code, "{line}");
        assert!(message.contains(sentence), "{line}: {message}");
    }
}
