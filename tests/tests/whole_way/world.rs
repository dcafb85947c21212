//! Everything but the edge and the runners: database, model, GitHub, sprite host, and a set-up that ties them together.

use std::{collections::BTreeSet, time::Duration};

use roost_edge::{auth::token::Audience, host::native::DatabaseAddress};
use roost_runner::{
    fixture::{Fixture, Order, Place},
    sprite::{
        Sprite, Sprites,
        host::{self, HostConfig},
    },
    standin::{
        github::{GithubConfig, GithubServer, Made, MadeKind},
        model::{ModelServer, Script, Turn},
    },
};
use roost_tests::{
    RoostProcess, Sqld,
    office::{Channels, MASTER_KEY, Office, SECRET},
};
use serde_json::{Value, json};

pub(crate) const SPRITES_TOKEN: &str = "a token for the sprites of tests";
/// What takes longer never comes; long enough for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// Everything but the edge and the runners.
pub(crate) struct World {
    pub(crate) sqld: Sqld,
    pub(crate) office: Office,
    pub(crate) github: GithubServer,
    pub(crate) model: ModelServer,
    pub(crate) sprites: String,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    /// One whose model asks for one command and then replies.
    pub(crate) async fn new() -> Self {
        Self::with(Script::turns(vec![
            // A file of its own: runs of one agent share its sprite, and these go on at the same time.
            Turn::call(
                "bash",
                json!({"command": "file=$(mktemp) && echo $((6 * 7)) > \"$file\" && cat \"$file\""}),
            ),
            Turn::say("The answer is 42."),
        ]))
        .await
    }

    /// One whose model follows a script.
    pub(crate) async fn with(script: Script) -> Self {
        let sqld = Sqld::start().await;
        let config = GithubConfig {
            token: Some("a GitHub token".into()),
            ..GithubConfig::default()
        };
        let github = GithubServer::start(config).await.unwrap();
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
        let config = HostConfig::new(
            directory.path().join("sprites"),
            SPRITES_TOKEN,
            roost_tests::roost_binary(),
        );
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
    pub(crate) fn variables<'a>(&self, database: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("ROOST_DATABASE_URL", database),
            ("ROOST_MASTER_KEY", MASTER_KEY),
            ("ROOST_PUBLIC_URL", "http://127.0.0.1"),
            ("ROOST_PRIVATE_ADDRESSES", "allowed"),
        ]
    }

    /// Starts the native edge.
    pub(crate) fn native_edge(&self, database: &str) -> RoostProcess {
        let config = self.config();
        RoostProcess::start(
            &["edge", "--listen", "127.0.0.1:0", "--config", &config],
            &self.variables(database),
        )
    }

    pub(crate) fn config(&self) -> String {
        self.directory.path().join("roost.toml").display().to_string()
    }

    /// Starts a runner with two slots.
    pub(crate) fn runner(&self, edge: &str, name: &str) -> RoostProcess {
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
    pub(crate) async fn say(&self, edge: &str, issues: std::ops::Range<u32>) {
        for number in issues {
            self.comment(edge, number, number.into(), "@roost what is the answer?")
                .await;
        }
    }

    /// Posts a comment of this id on an issue.
    pub(crate) async fn comment(&self, edge: &str, issue: u32, id: u64, text: &str) {
        let order = Order {
            secret: SECRET,
            text,
            id,
            now: self.office.edge.now(),
            place: Place {
                number: issue,
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

    /// Waits until every one of these issues has its reply.
    pub(crate) async fn replies(&self, issues: std::ops::Range<u32>) {
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

    /// Waits until a query finds a row, and gives the text of its first column; `?1` is the workspace.
    pub(crate) async fn until_found(&self, sql: &'static str) -> String {
        let found = async {
            loop {
                if let Some(row) = self.office.scope.query(sql, []).await.unwrap().first() {
                    return row.text(0).unwrap().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, found).await else {
            let events =
                "SELECT seq, body FROM events WHERE workspace_id = ?1 AND seq > 0 ORDER BY run_id, seq";
            let events = self.office.scope.query(events, []).await;
            panic!("nothing found by {sql}\n{events:?}");
        };
        found
    }

    /// The runners that took runs, by name.
    pub(crate) async fn takers(&self) -> BTreeSet<String> {
        let sql = "SELECT DISTINCT body ->> 'runner' FROM events WHERE workspace_id = ?1 AND body ->> 'type' = 'leased'";
        let rows = self.office.scope.query(sql, []).await.unwrap();
        rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
    }
}

/// What tests see of a run and its sprite.
impl World {
    /// The sprite of the one agent, as another client of the host sees it.
    pub(crate) async fn sprite(&self) -> Option<Sprite> {
        let sprites = Sprites::new(&self.sprites, SPRITES_TOKEN).unwrap();
        let there = sprites.list("agent-").await.unwrap();
        Some(sprites.sprite(there.first()?.name.clone()))
    }

    /// Somebody else deletes the sprite.
    pub(crate) async fn delete_the_sprite(&self) {
        let sprite = self.sprite().await.unwrap();
        let sprites = Sprites::new(&self.sprites, SPRITES_TOKEN).unwrap();
        sprites.delete(sprite.name()).await.unwrap();
    }

    /// Waits until a command has made this file in the sprite's home.
    pub(crate) async fn until_made(&self, file: &str) {
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
    pub(crate) async fn events(&self, edge: &str) -> Vec<Value> {
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
    pub(crate) fn replied_once(&self, reply: &str) {
        let made = self.github.made();
        let replies: Vec<_> = comments(&made).collect();
        assert_eq!(replies.len(), 1, "{made:?}");
        assert!(replies[0].content.starts_with(reply), "{made:?}");
    }
}

pub(crate) fn comments(made: &[Made]) -> impl Iterator<Item = &Made> {
    made.iter().filter(|made| made.kind == MadeKind::Comment)
}
