//! A sprite for one run: journaled, created, deleted; and swept up where its runner died.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::post};
use roost_runner::{
    brain::sweep::sweep,
    edge_client::EdgeClient,
    standin::model::{Script, Turn},
    tool::standard,
};
use roost_shared::{
    RunId, UnixMillis,
    event::EventBody,
    sprite::SpriteOwner,
    wire::{EndedRequest, EndedResponse},
};
use serde_json::json;

use crate::bench::{Bench, Crash, Memory};

async fn bench() -> Bench {
    let mut bench = Bench::new(Script::turns(vec![
        Turn::call("bash", json!({"command": "echo here > file; ls"})),
        Turn::call("read_file", json!({"path": "file"})),
        Turn::say("Done."),
    ]))
    .await;
    bench.tools = standard();
    bench.agent.sprite = SpriteOwner::Run;
    bench
}

async fn names(bench: &Bench) -> Vec<String> {
    let sprites = bench.sprites.list("").await.unwrap();
    sprites.into_iter().map(|sprite| sprite.name).collect()
}

#[tokio::test]
async fn a_run_s_own_sprite_is_journaled_before_it_is_made_and_goes_with_the_run() {
    let bench = bench().await;
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert!(
        matches!(memory.last(), EventBody::Completed { .. }),
        "{:?}",
        memory.kinds()
    );
    assert_eq!(
        memory.kinds()[2..5],
        ["model_answered", "sprite_claimed", "tool_started"]
    );
    let claims = memory
        .kinds()
        .iter()
        .filter(|kind| **kind == "sprite_claimed")
        .count();
    assert_eq!(claims, 1);
    assert!(
        memory.results()[1].text.contains("here"),
        "one sprite for all calls: {:?}",
        memory.results()
    );
    assert_eq!(names(&bench).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_dead_runner_left_is_the_next_one_s_or_swept_up() {
    // Without its claim in the journal no sprite is made, and with it the next runner knows of it.
    for (crash, made) in [(Crash::Before, 0), (Crash::After, 0)] {
        let bench = bench().await;
        let memory = Memory::new();
        *memory.crash.lock().unwrap() = Some((0, crash));
        bench.drive(&memory).await;
        assert_eq!(names(&bench).await.len(), made, "{crash:?}");
        *memory.crash.lock().unwrap() = None;
        bench.drive(&memory).await;
        assert!(
            matches!(memory.last(), EventBody::Completed { .. }),
            "{:?}",
            memory.kinds()
        );
        assert!(names(&bench).await.is_empty(), "{crash:?}");
    }
}

#[tokio::test]
async fn sweeping_deletes_the_sprites_of_ended_runs_and_no_other() {
    let bench = bench().await;
    let run = |number| RunId::new(UnixMillis(5), [number; 10]);
    let (ended, live) = (run(1), run(2));
    let agent = bench.agent.id;
    let kept = [
        SpriteOwner::Run.sprite(agent, live),
        SpriteOwner::Agent.sprite(agent, ended),
        "run-of-somebody-else".to_owned(),
    ];
    let left = SpriteOwner::Run.sprite(agent, ended);
    for name in kept.iter().chain([&left]) {
        bench.sprites.ensure(name).await.unwrap();
    }

    let asked = Arc::<Mutex<Vec<RunId>>>::default();
    let heard = asked.clone();
    let answer = async move |Json(request): Json<EndedRequest>| {
        heard.lock().unwrap().extend(&request.runs);
        let ended = request.runs.into_iter().filter(|asked| *asked == ended).collect();
        Json(EndedResponse { ended })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/runner/v1/runs/ended", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let edge = EdgeClient::new(reqwest::Client::new(), &base, "token");

    assert_eq!(sweep(&bench.sprites, &edge).await.unwrap(), 1);
    let mut expected = kept.to_vec();
    expected.sort();
    assert_eq!(names(&bench).await, expected);
    assert_eq!(sweep(&bench.sprites, &edge).await.unwrap(), 0);
    let mut asked = asked.lock().unwrap().clone();
    asked.dedup();
    assert!(asked.iter().all(|run| [ended, live].contains(run)), "{asked:?}");
}
