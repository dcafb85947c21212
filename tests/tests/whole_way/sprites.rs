//! The sprite or its host is gone in the middle of a run: the run says so, and the message still gets its answer.

use std::{net::TcpListener, time::Duration};

use roost_edge::auth::token::Audience;
use roost_runner::{
    sprite::{Sprite, Sprites},
    standin::model::{Fault, Script, Turn},
};
use roost_tests::{RoostProcess, free_port};
use serde_json::{Value, json};

use crate::world::{PATIENCE, SPRITES_TOKEN, World, comments};

fn bash(command: &str) -> Turn {
    Turn::call("bash", json!({ "command": command }))
}

impl World {
    /// The sprite of the one agent, as another client of the host sees it.
    async fn sprite(&self) -> Option<Sprite> {
        let sprites = Sprites::new(&self.sprites, SPRITES_TOKEN).unwrap();
        let there = sprites.list("agent-").await.unwrap();
        Some(sprites.sprite(there.first()?.name.clone()))
    }

    /// Somebody else deletes the sprite.
    async fn delete_the_sprite(&self) {
        let sprite = self.sprite().await.unwrap();
        let sprites = Sprites::new(&self.sprites, SPRITES_TOKEN).unwrap();
        sprites.delete(sprite.name()).await.unwrap();
    }

    /// Waits until a command has made this file in the sprite's home.
    async fn until_made(&self, file: &str) {
        let made = async {
            loop {
                if let Some(sprite) = self.sprite().await
                    && sprite.read(file).await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, made)
            .await
            .expect("the command begins");
    }

    /// The events of the one run, as the public API tells them.
    async fn events(&self, edge: &str) -> Vec<Value> {
        let run = self
            .until_found("SELECT id FROM runs WHERE workspace_id = ?1")
            .await;
        let token = self
            .office
            .token(Audience::Api, "tests", Duration::from_secs(600));
        let answer = reqwest::Client::new()
            .get(format!("{edge}/api/v1/runs/{run}/events"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        body["items"].as_array().unwrap().clone()
    }

    /// One reply went out, and it is this.
    fn replied_once(&self, reply: &str) {
        let made = self.github.made();
        let replies: Vec<_> = comments(&made).collect();
        assert_eq!(replies.len(), 1, "{made:?}");
        assert!(replies[0].content.starts_with(reply), "{made:?}");
    }
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
    world
        .until_found("SELECT id FROM runs WHERE workspace_id = ?1 AND phase = 'parked'")
        .await;
    let _process = host.start().await;
    world.replies(1..2).await;

    world.replied_once("It went on.");
    let events = world.events(&url).await;
    let said = texts(&events, "tool_finished", "text");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("was interrupted"), "{said:?}");
    assert_eq!(said[1], "begun\nagain\n");
}
