//! A second message while the run is at work: one run, one reply, and the model has read both.

use roost_runner::standin::model::{Script, Turn};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_message_to_an_agent_at_work_reaches_the_model_of_the_same_run() {
    let command = "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo went";
    let world = World::with(Script::turns(vec![
        Turn::call("bash", json!({ "command": command })),
        Turn::say("Both are done."),
        Turn::say("Both are done."),
    ]))
    .await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    let _runner = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world.until_made("begun").await;
    world.comment(&url, 1, 900, "@roost and mind the gap").await;
    let sprite = world.sprite().await.unwrap();
    sprite.write("go", "", None).await.unwrap();
    world.replies(1..2).await;

    world.replied_once("Both are done.");
    let runs = "SELECT count(*) FROM runs WHERE workspace_id = ?1";
    assert_eq!(world.office.count(runs).await, 1);
    let events = world.events(&url).await;
    let steered: Vec<_> = events.iter().filter(|event| event["type"] == "steered").collect();
    assert_eq!(steered.len(), 1, "{events:?}");
    let last = world.model.requests().pop().unwrap();
    let asked = String::from_utf8(last.body.to_vec()).unwrap();
    assert!(
        asked.contains("and mind the gap") && asked.contains("went"),
        "{asked}"
    );
    assert_eq!(
        world
            .office
            .count("SELECT count(*) FROM signals WHERE workspace_id = ?1")
            .await,
        0
    );
}
