//! The whole way across processes: a signed webhook goes in, runners work, the reply is recorded on the other side.
//!
//! The edge is a process (workerd, wasmtime, or native), the database a real libSQL server, every runner a process of
//! its own, the model and GitHub stand-ins that speak the real wire.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, time::Duration};

use roost_edge::{auth::token::Audience, host::native::DatabaseAddress};
use roost_runner::{
    fixture::{Fixture, Order, Place},
    sprite::host::{self, HostConfig},
    standin::{
        github::{GithubConfig, GithubServer, Made, MadeKind},
        model::{Fault, ModelServer, Recorded, Script, Turn},
    },
};
use roost_tests::{
    RoostProcess, Sqld, WasmtimeServe, Workerd,
    office::{Channels, MASTER_KEY, Office, SECRET},
};
use serde_json::{Value, json};

const SPRITES_TOKEN: &str = "a token for the sprites of tests";
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything but the edge and the runners.
struct World {
    sqld: Sqld,
    office: Office,
    github: GithubServer,
    model: ModelServer,
    sprites: String,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let sqld = Sqld::start().await;
        let config = GithubConfig {
            token: Some("a GitHub token".into()),
            ..GithubConfig::default()
        };
        let github = GithubServer::start(config).await.unwrap();
        let script = Script::turns(vec![
            // A file of its own: runs of one agent share its sprite, and these go on at the same time.
            Turn::call(
                "bash",
                json!({"command": "file=$(mktemp) && echo $((6 * 7)) > \"$file\" && cat \"$file\""}),
            ),
            Turn::say("The answer is 42."),
        ]);
        let model = ModelServer::start(script).await.unwrap();
        let office = Office::open(&DatabaseAddress::Server {
            url: sqld.url(),
            token: None,
        })
        .await;
        let channels = Channels {
            github: github.url(),
            ..Channels::default()
        };
        office.connect(&channels).await;
        office.employ("roost", "scripted/scripted").await;

        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sprites = format!("http://{}", listener.local_addr().unwrap());
        let config = HostConfig::new(directory.path().join("sprites"), SPRITES_TOKEN);
        tokio::spawn(async move {
            host::serve(listener, config, std::future::pending())
                .await
                .unwrap();
        });
        let models = format!(
            "[edge]\nprivate_addresses = \"allowed\"\n\n[models.providers.scripted]\napi = \"anthropic\"\nbase_url = {:?}\nkey = \"a key\"\n",
            model.url()
        );
        std::fs::write(directory.path().join("roost.toml"), models).unwrap();
        Self {
            sqld,
            office,
            github,
            model,
            sprites,
            directory,
        }
    }

    /// What an edge in the world's network is told.
    fn variables<'a>(&self, database: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("ROOST_DATABASE_URL", database),
            ("ROOST_MASTER_KEY", MASTER_KEY),
            ("ROOST_PUBLIC_URL", "http://127.0.0.1"),
            ("ROOST_PRIVATE_ADDRESSES", "allowed"),
        ]
    }

    /// Starts the native edge.
    fn native_edge(&self, database: &str) -> RoostProcess {
        let config = self.config();
        RoostProcess::start(
            &["edge", "--listen", "127.0.0.1:0", "--config", &config],
            &self.variables(database),
        )
    }

    fn config(&self) -> String {
        self.directory.path().join("roost.toml").display().to_string()
    }

    /// Starts a runner with two slots.
    fn runner(&self, edge: &str, name: &str) -> RoostProcess {
        let token = self
            .office
            .token(Audience::Runner, name, Duration::from_secs(3600));
        let config = self.config();
        RoostProcess::start(
            &[
                "runner", "--edge", edge, "--name", name, "--slots", "2", "--config", &config,
            ],
            &[
                ("ROOST_RUNNER_TOKEN", &token),
                ("ROOST_SPRITES_URL", &self.sprites),
                ("ROOST_SPRITES_TOKEN", SPRITES_TOKEN),
            ],
        )
    }

    /// Posts comments that mention the agent, each on an issue of its own.
    async fn say(&self, edge: &str, issues: std::ops::Range<u32>) {
        for number in issues {
            let order = Order {
                secret: SECRET,
                text: "@roost what is the answer?",
                id: number.into(),
                now: self.office.edge.now(),
                place: Place {
                    number,
                    ..Place::default()
                },
                ..Order::default()
            };
            let signed = Fixture::GithubIssueComment.make(&order);
            let posting = reqwest::Client::new().post(format!("{edge}/hooks/main/github"));
            let answer = posting
                .headers(signed.headers)
                .body(signed.body)
                .send()
                .await
                .unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }
    }

    /// Waits until every one of these issues has its reply.
    async fn replies(&self, issues: std::ops::Range<u32>) {
        let wanted: BTreeSet<u64> = issues.map(u64::from).collect();
        let all = self.github.until(|made: &[Made]| {
            let replied: BTreeSet<u64> = comments(made).map(|made| made.target).collect();
            wanted.is_subset(&replied).then_some(())
        });
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            let runs = self
                .office
                .scope
                .query("SELECT id, phase, outcome FROM runs WHERE workspace_id = ?1", [])
                .await;
            let effects = self
                .office
                .scope
                .query(
                    "SELECT effect, state, reason FROM effects WHERE workspace_id = ?1",
                    [],
                )
                .await;
            panic!(
                "not every issue has its reply: {:?}\n{runs:?}\n{effects:?}",
                self.github.made()
            );
        }
    }

    /// The runners that took runs, by name.
    async fn takers(&self) -> BTreeSet<String> {
        let sql = "SELECT DISTINCT body ->> 'runner' FROM events WHERE workspace_id = ?1 AND body ->> 'type' = 'leased'";
        let rows = self.office.scope.query(sql, []).await.unwrap();
        rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
    }
}

/// The tool's result in the last message of a request, as JSON.
fn tool_result(request: &Recorded) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let blocks = body["messages"].as_array()?.last()?["content"].as_array()?;
    let result = blocks.iter().find(|block| block["type"] == "tool_result")?;
    Some(result["content"].to_string())
}

fn comments(made: &[Made]) -> impl Iterator<Item = &Made> {
    made.iter().filter(|made| made.kind == MadeKind::Comment)
}

/// One runner works, a second joins in the middle and shares the load; every message has exactly one reply.
async fn shared_by_two_runners(world: &World, edge: &str) {
    world.model.set_pace(Duration::from_millis(20));
    let _one = world.runner(edge, "one");
    world.say(edge, 1..4).await;
    world.replies(1..2).await;
    let _two = world.runner(edge, "two");
    world.say(edge, 4..13).await;
    world.replies(1..13).await;
    let made = world.github.made();
    assert_eq!(comments(&made).count(), 12, "one reply each: {made:?}");
    assert!(
        comments(&made).all(|made| made.content.starts_with("The answer is 42.")),
        "{made:?}"
    );
    assert_eq!(
        world.takers().await,
        BTreeSet::from(["one".to_owned(), "two".to_owned()])
    );
    let printed: Vec<String> = world.model.requests().iter().filter_map(tool_result).collect();
    assert_eq!(
        printed.len(),
        12,
        "each command's result is sent to the model once"
    );
    assert!(printed.iter().all(|text| text.contains("42")), "{printed:?}");
}

#[tokio::test]
async fn through_a_worker_on_workerd() {
    let world = World::new().await;
    let database = world.sqld.url();
    let edge = Workerd::start(&world.variables(&database)).await;
    shared_by_two_runners(&world, edge.url()).await;
}

#[tokio::test]
async fn through_a_spin_component_on_wasmtime() {
    let world = World::new().await;
    let database = world.sqld.url();
    let edge = WasmtimeServe::start(&world.variables(&database)).await;
    shared_by_two_runners(&world, edge.url()).await;
}

#[tokio::test]
async fn through_the_native_edge() {
    let world = World::new().await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    shared_by_two_runners(&world, &url).await;
}

/// What goes wrong with the model or the sprite stands in the run, with a stable code and a sentence, and is not lost.
#[tokio::test]
async fn what_goes_wrong_stands_in_the_run() {
    let world = World::new().await;
    let database = world.sqld.url();
    let mut edge = world.native_edge(&database);
    let url = edge.address().await;
    for fault in [
        Fault::Overloaded,
        Fault::Cut { after: 200 },
        Fault::RateLimit {
            retry_after: Some(Duration::from_secs(1)),
        },
    ] {
        world.model.fail_next(fault);
    }
    let _runner = world.runner(&url, "one");
    world.say(&url, 1..2).await;
    world.replies(1..2).await;
    let codes = "SELECT group_concat(body ->> 'code', ' ') FROM events WHERE workspace_id = ?1 AND body ->> 'type' = 'model_failed'";
    let rows = world.office.scope.query(codes, []).await.unwrap();
    assert_eq!(
        rows[0].text(0).unwrap(),
        "model_overloaded model_stream_cut model_rate_limited"
    );

    world.model.fail_next(Fault::RefuseKey);
    world.say(&url, 2..3).await;
    let failed = "SELECT count(*) FROM runs WHERE workspace_id = ?1 AND phase = 'failed' AND outcome = 'model_key_refused'";
    let until = async {
        while world.office.count(failed).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, until)
        .await
        .expect("the run fails with the code");
}
