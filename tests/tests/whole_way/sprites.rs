//! The sprite or its host is gone in the middle of a run: the run says so, and the message still gets its answer.

use std::{net::TcpListener, time::Duration};

use roost_runner::standin::model::{Fault, Script, Turn};
use roost_tests::{RoostProcess, free_port};
use serde_json::{Value, json};

use crate::world::{SPRITES_TOKEN, World};

fn bash(command: &str) -> Turn {
    Turn::call("bash", json!({ "command": command }))
}

fn texts<'a>(events: &'a [Value], kind: &str, field: &str) -> Vec<&'a str> {
    events
        .iter()
        .filter(|event| event["type"] == kind)
        .map(|event| event[field].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_sprite_deleted_between_two_turns_is_told_and_made_anew() {
    let world = World::with(Script::turns(vec![
        bash("echo before > kept; cat kept"),
        bash("cat ~/kept"),
        bash("echo after > kept; cat kept"),
        Turn::say("It was lost, I made it again."),
    ]))
    .await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    let _runner = world.runner(&url, "one");
    // The pause in which it is deleted.
    world.model.pass_next();
    world.model.fail_next(Fault::RateLimit {
        retry_after: Some(Duration::from_secs(2)),
    });
    world.say(&url, 1..2).await;
    world.model.received(2).await;
    world.delete_the_sprite().await;
    world.replies(1..2).await;

    world.replied_once("It was lost, I made it again.");
    let events = world.events(&url).await;
    let said = texts(&events, "tool_finished", "text");
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!((said[0], said[2]), ("before\n", "after\n"));
    assert!(said[1].starts_with("sprite_gone: "), "{said:?}");
    assert!(
        said[1].contains("a new, empty one"),
        "it says what to do: {said:?}"
    );
}

#[tokio::test]
async fn a_sprite_deleted_under_a_running_command_is_told_and_made_anew() {
    let world = World::with(Script::turns(vec![
        bash("touch begun; sleep 50"),
        bash("ls -A ~ | grep -v roost; pwd > kept; echo again"),
        Turn::say("I went on in a new sprite."),
    ]))
    .await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    let _runner = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world.until_made("begun").await;
    world.delete_the_sprite().await;
    world.replies(1..2).await;

    world.replied_once("I went on in a new sprite.");
    let events = world.events(&url).await;
    let said = texts(&events, "tool_finished", "text");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("sprite_gone: "), "{said:?}");
    assert_eq!(said[1], "again\n", "the new sprite is empty and works");
}

/// A sprite host as a process, on a port of its own, so that it can go and come back.
struct Host {
    port: u16,
    directory: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self {
            port: free_port(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn start(&self) -> RoostProcess {
        assert!(
            TcpListener::bind(("127.0.0.1", self.port)).is_ok(),
            "the port is free"
        );
        let data = self.directory.path().display().to_string();
        let listen = format!("127.0.0.1:{}", self.port);
        let mut host = RoostProcess::start(
            &["sprites", "--data", &data, "--listen", &listen],
            &[("ROOST_SPRITES_TOKEN", SPRITES_TOKEN)],
        );
        host.address().await;
        host
    }
}

#[tokio::test]
async fn a_sprite_host_that_is_away_is_waited_for_and_the_run_goes_on() {
    let mut world = World::new().await;
    let host = Host::new();
    world.sprites = host.url();
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    let _runner = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world
        .until_found("SELECT id FROM runs WHERE workspace_id = ?1 AND phase = 'parked'")
        .await;
    let _host = host.start().await;
    world.replies(1..2).await;

    world.replied_once("The answer is 42.");
    assert_eq!(world.model.requests().len(), 2, "nobody asks the model meanwhile");
    let events = world.events(&url).await;
    let reasons = texts(&events, "parked", "reason");
    assert!((1..=5).contains(&reasons.len()), "{reasons:?}");
    assert!(
        reasons[0].starts_with("sprite_unavailable: the sprite host cannot be reached")
            && reasons[0].ends_with("check its address and that it is running"),
        "{reasons:?}"
    );
    assert_eq!(texts(&events, "tool_finished", "text"), ["42\n"]);
}

#[tokio::test]
async fn a_sprite_host_that_dies_under_a_command_loses_nothing_it_had_stored() {
    let mut world = World::with(Script::turns(vec![
        bash("touch begun; sleep 20; echo never"),
        bash("ls; echo again"),
        Turn::say("It went on."),
    ]))
    .await;
    let host = Host::new();
    world.sprites = host.url();
    let mut process = host.start().await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    let _runner = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world.until_made("begun").await;
    process.process().kill();
    let _process = host.start().await;
    world.replies(1..2).await;

    world.replied_once("It went on.");
    let events = world.events(&url).await;
    let said = texts(&events, "tool_finished", "text");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("was interrupted"), "{said:?}");
    assert_eq!(said[1], "begun\nagain\n");
}
