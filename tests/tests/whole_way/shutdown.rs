//! A runner that is told to end in the middle of a long command: another one joins the command, nothing happens twice.

use std::{fs, time::Duration};

use roost_runner::standin::model::{Script, Turn};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_command_that_outlasts_the_grace_is_joined_by_the_next_runner() {
    let command = "echo begun >> count; while [ ! -e go ]; do sleep 0.05; done; cat count";
    let world = World::with(Script::turns(vec![
        Turn::call("bash", json!({ "command": command })),
        Turn::say("Done."),
    ]))
    .await;
    let config = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), format!("{config}\n[runner]\ngrace_s = 1\n")).unwrap();
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    let mut one = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world.until_made("count").await;

    let ended = tokio::time::timeout(Duration::from_secs(20), one.process().terminate()).await;
    assert!(ended.expect("the runner ends soon after its grace").success());
    let sql = "SELECT id FROM runs WHERE workspace_id = ?1 AND phase = 'queued'";
    world.until_found(sql).await;
    let _two = world.runner(&url, "two");
    world
        .until_found("SELECT id FROM runs WHERE workspace_id = ?1 AND runner = 'two'")
        .await;
    let sprite = world.sprite().await.unwrap();
    sprite.write("go", "", None).await.unwrap();
    world.replies(1..2).await;

    world.replied_once("Done.");
    let events = world.events(&url).await;
    let results: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "tool_finished")
        .collect();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["text"], "begun\n", "the command ran once: {events:?}");
}
