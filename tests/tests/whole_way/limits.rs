//! A model's limit: who meets it sleeps on no runner until the moment the provider named, and everybody else knows of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use roost_edge::auth::token::Audience;
use roost_runner::{
    brain::{Brain, BrainConfig},
    edge_client::EdgeClient,
    model::{Api, Gateway, ModelConfig},
    sprite::Sprites,
    standin::model::{Fault, Script, Turn},
    tool::Tools,
    worker::{Worker, WorkerConfig},
};
use roost_tests::{RoostProcess, free_port};
use tokio::task::AbortHandle;

use crate::world::{SPRITES_TOKEN, World};

/// When the provider says that its limit ends: so many times what a run takes on this machine, in these bounds. Six runs have
/// to be asleep by then.
const RUNS: u32 = 12;
const LIMIT: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(50));

/// A runner in this process that waits for no model itself: every wait is slept away on no runner.
fn runner(world: &World, edge: &str) -> AbortHandle {
    let token = world
        .office
        .token(Audience::Runner, "one", Duration::from_secs(3600));
    let edge = EdgeClient::new(reqwest::Client::new(), edge, &token);
    let provider = world.model.provider(Api::Anthropic);
    let models = ModelConfig {
        providers: [("scripted".to_owned(), provider)].into(),
        ..ModelConfig::default()
    };
    let config = BrainConfig {
        longest_wait: Duration::from_millis(100),
        ..BrainConfig::default()
    };
    let sprites = Sprites::new(&world.sprites, SPRITES_TOKEN).unwrap();
    let brain = Brain::new(
        config,
        edge.clone(),
        Gateway::new(&models).unwrap(),
        Tools::default(),
        sprites,
    );
    let config = WorkerConfig {
        name: "one".into(),
        slots: 8,
        doorbell: None,
        tick: Duration::from_millis(200),
        grace: Duration::from_secs(1),
    };
    let worker = Worker::new(config, edge, Arc::new(brain));
    tokio::spawn(worker.run(std::future::pending())).abort_handle()
}

fn edge(world: &World, address: &str) -> RoostProcess {
    let config = world.config();
    let database = world.sqld.url();
    RoostProcess::start(
        &["edge", "--listen", address, "--config", &config],
        &world.variables(&database),
    )
}

#[tokio::test]
async fn runs_sleep_out_a_limit_without_asking_and_an_edge_that_is_restarted_wakes_them() {
    let world = World::with(Script::turns(vec![Turn::say("The answer is 42.")])).await;
    let address = format!("127.0.0.1:{}", free_port());
    let mut first = edge(&world, &address);
    let url = first.address().await;
    let runner = runner(&world, &url);

    let began = Instant::now();
    world.say(&url, 7..8).await;
    world.replies(7..8).await;
    world.model.fail_next(Fault::RateLimit {
        retry_after: Some((began.elapsed() * RUNS).clamp(LIMIT.0, LIMIT.1)),
    });
    world.say(&url, 1..2).await;
    let parked = "SELECT id FROM runs WHERE workspace_id = ?1 AND phase = 'parked'";
    world.until_found(parked).await;
    // These have not met the limit themselves.
    world.say(&url, 2..7).await;
    let all = "SELECT 'all' FROM (SELECT count(*) AS parked FROM runs WHERE workspace_id = ?1 AND phase = 'parked') \
               WHERE parked = 6";
    world.until_found(all).await;
    assert_eq!(
        world.model.requests().len(),
        2,
        "after the first run one met the limit, nobody else asked"
    );

    first.process().kill();
    let mut second = edge(&world, &address);
    second.address().await;
    world.replies(1..7).await;
    assert_eq!(world.model.requests().len(), 8, "each run asks once after it");
    let early = "SELECT e.run_id FROM events e JOIN events p ON p.run_id = e.run_id AND p.seq < e.seq \
                 AND p.body ->> 'type' = 'parked' WHERE e.workspace_id = ?1 AND e.body ->> 'type' = 'leased' \
                 AND e.at < p.body ->> 'until'";
    let early = world.office.scope.query(early, []).await.unwrap();
    assert_eq!(early.len(), 0, "nobody wakes before the time");
    let parks = "SELECT count(*) FROM events WHERE workspace_id = ?1 AND body ->> 'type' = 'parked'";
    assert_eq!(world.office.count(parks).await, 6, "each sleeps once");
    runner.abort();
}
