//! git in a sprite clones and pushes with a token it is lent, from a signed webhook to the pushed commit, across real
//! processes; and the token is found nowhere afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use roost_edge::{
    auth::token::Audience,
    config::Rule,
    host::native::DatabaseAddress,
    integration::{GithubSettings, Secrets, Settings},
    setup::{self, IntegrationDraft, SubscriptionDraft},
};
use roost_runner::{
    fixture::{Fixture, Order, Place},
    sprite::host::{self, HostConfig},
    standin::{
        github::{GithubConfig, GithubServer},
        model::{ModelServer, Script, Turn},
    },
};
use roost_tests::{
    RoostProcess,
    git_server::GitServer,
    office::{MASTER_KEY, Office, SECRET},
};
use serde_json::{Value, json};

const PRIVATE_KEY: &str = include_str!("keys/app.pem");
const PUBLIC_KEY: &str = include_str!("keys/app.pub.pem");
const SPRITES_TOKEN: &str = "a token for the sprites of tests";
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts an edge on a database that was open in this process a moment ago: it is let go in the background.
async fn start_edge(database: &Path, settings: &str) -> (RoostProcess, String) {
    let starting = async {
        loop {
            let mut edge = RoostProcess::start(
                &["edge", "--listen", "127.0.0.1:0", "--config", settings],
                &[
                    ("ROOST_DATABASE_URL", database.to_str().unwrap()),
                    ("ROOST_MASTER_KEY", MASTER_KEY),
                    ("ROOST_PUBLIC_URL", "http://127.0.0.1"),
                    ("ROOST_LOG", "roost_edge=trace,roost_runner=trace,info"),
                ],
            );
            let address = |line: &str| {
                let start = line.find("http://127.0.0.1:")?;
                let address = line[start..].split([' ', '"']).next()?;
                Some(address.trim_end_matches('/').to_owned())
            };
            if let Some(address) = edge.process().try_line(address).await {
                return (edge, address);
            }
        }
    };
    tokio::time::timeout(PATIENCE, starting)
        .await
        .expect("the edge starts")
}

/// How the integration is authorised at GitHub.
enum Connected {
    App,
    Token(&'static str),
}

struct World {
    directory: tempfile::TempDir,
    git: GitServer,
    model: ModelServer,
    _github: GithubServer,
    edge: RoostProcess,
    runner: RoostProcess,
    address: String,
    api_token: String,
    sprites: String,
}

fn git(arguments: &[&str], directory: &Path) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Bare repositories `octo/hello.git` and `octo/other.git` with one commit each.
fn repositories(directory: &Path) -> PathBuf {
    let (work, bare) = (directory.join("seed"), directory.join("repositories"));
    std::fs::create_dir_all(&work).unwrap();
    git(&["init", "-q", "-b", "main"], &work);
    std::fs::write(work.join("README.md"), "# hello\n").unwrap();
    git(&["add", "."], &work);
    git(
        &[
            "-c",
            "user.name=a user",
            "-c",
            "user.email=a@b.example",
            "commit",
            "-qm",
            "Begin",
        ],
        &work,
    );
    for name in ["hello", "other"] {
        let target = bare.join(format!("octo/{name}.git"));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        git(&["clone", "-q", "--bare", ".", target.to_str().unwrap()], &work);
        git(&["config", "http.receivepack", "true"], &target);
    }
    bare
}

impl World {
    async fn new(connected: Connected, commands: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let github = GithubServer::start(GithubConfig {
            app_public_key: Some(PUBLIC_KEY.to_owned()),
            ..GithubConfig::default()
        })
        .await
        .unwrap();
        let (app_id, private_key, token) = match connected {
            Connected::App => (Some("4711"), Some(PRIVATE_KEY), None),
            Connected::Token(token) => (None, None, Some(token)),
        };
        let git = GitServer::start(&github.url(), repositories(directory.path()), token).await;
        let turns = commands
            .iter()
            .map(|command| command.replace("ORIGIN", git.url()))
            .map(|command| Turn::call("bash", json!({"command": command})));
        let script = Script::turns(turns.chain([Turn::say("Done.")]).collect());
        let model = ModelServer::start(script).await.unwrap();
        let database = directory.path().join("roost.db");
        let api_token = {
            let office = Office::open(&DatabaseAddress::File(database.clone())).await;
            let draft = IntegrationDraft {
                name: "github".into(),
                settings: Settings::Github(GithubSettings {
                    api_url: git.url().to_owned(),
                    app_id: app_id.map(str::to_owned),
                    bot_login: "roost-test[bot]".into(),
                    repositories: Vec::new(),
                }),
                secrets: Some(Secrets::Github {
                    webhook_secret: SECRET.into(),
                    private_key: private_key.map(str::to_owned),
                    token: token.map(str::to_owned),
                }),
                enabled: true,
            };
            let integration = setup::create_integration(&office.edge, &office.scope, draft)
                .await
                .unwrap();
            let agent = office.employ("roost", "scripted/scripted").await;
            let listens = SubscriptionDraft {
                agent: agent.id,
                integration: integration.id,
                rule: Rule::Mention,
            };
            // The office has subscribed its agent to everything there was.
            let _ = setup::subscribe(&office.edge, &office.scope, &listens).await;
            let span = Duration::from_secs(3600);
            let runner = office.token(Audience::Runner, "runner", span);
            std::fs::write(directory.path().join("runner-token"), runner).unwrap();
            office.token(Audience::Api, "tests", span)
        };

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sprites = format!("http://{}", listener.local_addr().unwrap());
        let mut config = HostConfig::new(
            directory.path().join("sprites"),
            SPRITES_TOKEN,
            roost_tests::roost_binary(),
        );
        // The git server listens on the machine itself, which no walled sprite reaches else.
        config.hosts.extend([git.way()]);
        tokio::spawn(async move {
            host::serve(listener, config, std::future::pending())
                .await
                .unwrap();
        });

        let settings = directory.path().join("roost.toml");
        let text = format!(
            "[edge]\nprivate_addresses = \"allowed\"\n\n[models.providers.scripted]\napi = \"anthropic\"\nbase_url = {:?}\nkey = \"a key\"\n",
            model.url()
        );
        std::fs::write(&settings, text).unwrap();
        let settings = settings.to_str().unwrap();
        let (edge, address) = start_edge(&database, settings).await;
        let runner_token = std::fs::read_to_string(directory.path().join("runner-token")).unwrap();
        let runner = RoostProcess::start(
            &[
                "runner", "--edge", &address, "--name", "one", "--config", settings,
            ],
            &[
                ("ROOST_RUNNER_TOKEN", &runner_token),
                ("ROOST_SPRITES_URL", &sprites),
                ("ROOST_SPRITES_TOKEN", SPRITES_TOKEN),
                ("ROOST_LOG", "roost_edge=trace,roost_runner=trace,info"),
            ],
        );
        Self {
            directory,
            git,
            model,
            _github: github,
            edge,
            runner,
            address,
            api_token,
            sprites,
        }
    }

    /// Says something to the agent and waits until the run has ended; the run's journal.
    async fn run(&self, association: &str) -> Vec<Value> {
        let order = Order {
            secret: SECRET,
            text: "@roost push something",
            now: roost_shared::UnixMillis(now()),
            place: Place {
                repository: "octo/hello",
                number: 1,
                installation: Some(77),
            },
            ..Order::default()
        };
        let signed = Fixture::GithubIssueComment.make(&order);
        let body = String::from_utf8(signed.body.to_vec()).unwrap();
        let body = body.replace(
            "\"author_association\":\"MEMBER\"",
            &format!("\"author_association\":\"{association}\""),
        );
        let signed = roost_runner::fixture::sign_github(SECRET, "issue_comment", "d1", body.into());
        let http = reqwest::Client::new();
        let hook = format!("{}/hooks/main/github", self.address);
        let answer = http
            .post(hook)
            .headers(signed.headers)
            .body(signed.body)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        let run = answer["runs"][0]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned();
        let events = format!("{}/api/v1/runs/{run}/events", self.address);
        // The live stream ends with the run.
        let stream = http
            .get(&events)
            .bearer_auth(&self.api_token)
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        tokio::time::timeout(PATIENCE, stream.bytes())
            .await
            .expect("the run ends")
            .unwrap();
        let page = http
            .get(&events)
            .bearer_auth(&self.api_token)
            .send()
            .await
            .unwrap();
        let page: Value = page.json().await.unwrap();
        page["items"].as_array().unwrap().clone()
    }

    /// The network policies of all sprites.
    async fn policies(&self) -> String {
        let http = reqwest::Client::new();
        let get = async |path: &str| {
            let url = format!("{}/v1/sprites{path}", self.sprites);
            let answer = http.get(url).bearer_auth(SPRITES_TOKEN).send().await.unwrap();
            answer.json::<Value>().await.unwrap()
        };
        let mut found = String::new();
        for sprite in get("").await["sprites"].as_array().unwrap() {
            let name = sprite["name"].as_str().unwrap();
            found += &get(&format!("/{name}/policy/network")).await.to_string();
        }
        found
    }

    /// Everything that is written down anywhere.
    fn written(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.directory.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
                }
            }
        }
        for (number, request) in self.model.requests().into_iter().enumerate() {
            found.push((format!("request {number} to the model"), request.body.to_vec()));
        }
        found.push(("the edge's log".into(), self.edge.process().log().into_bytes()));
        found.push((
            "the runner's log".into(),
            self.runner.process().log().into_bytes(),
        ));
        found
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn results(journal: &[Value]) -> Vec<(String, bool)> {
    let finished = journal.iter().filter(|event| event["type"] == "tool_finished");
    let result = |event: &Value| {
        (
            event["text"].as_str().unwrap().to_owned(),
            event["is_error"] == true,
        )
    };
    finished.map(result).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

const PUSH: &str = "git clone -q ORIGIN/octo/hello.git && cd hello && echo more >> README.md && \
    git -c user.name=Roost -c user.email=roost@b.example commit -qam 'More' && git push -q origin HEAD:work && \
    git fetch -q && git log --format=%s origin/work";

#[tokio::test]
async fn a_run_clones_and_pushes_with_a_narrowed_token_that_is_found_nowhere() {
    let count = "cd ~/hello && printf 'url=ORIGIN/octo/hello.git\\n\\n' | git credential fill | grep -c '^password=ghs_'";
    let other = "git clone -q ORIGIN/octo/other.git";
    let mut world = World::new(Connected::App, &[PUSH, count, other]).await;
    let journal = world.run("MEMBER").await;
    let results = results(&journal);
    assert_eq!(results[0], ("More\nBegin\n".into(), false), "{results:?}");
    assert_eq!(results[1], ("1\n".into(), false), "a token was lent");
    assert!(
        results[2].1
            && results[2]
                .0
                .contains("only for the repository its conversation is about"),
        "{results:?}"
    );
    let bare = world.directory.path().join("repositories/octo/hello.git");
    assert_eq!(git(&["log", "--format=%s", "work"], &bare), "More\nBegin\n");
    // What the runner told the sprite host of its repository's host.
    assert!(
        world
            .policies()
            .await
            .contains(r#"{"action":"allow","domain":"127.0.0.2"}"#)
    );

    let pushing: Vec<_> = world
        .git
        .issued()
        .into_iter()
        .filter(|issued| issued.narrowed["permissions"]["contents"] == "write")
        .collect();
    assert_eq!(pushing.len(), 1, "asked for once: {pushing:?}");
    assert_eq!(
        pushing[0].narrowed,
        json!({"repositories": ["hello"], "permissions": {"contents": "write", "pull_requests": "write"}})
    );
    let journal = serde_json::to_vec(&journal).unwrap();
    let written = world.written();
    let places = written
        .iter()
        .map(|(place, bytes)| (place.as_str(), bytes.as_slice()));
    let mut looked = 0;
    for (place, bytes) in places.chain([("the journal", journal.as_slice())]) {
        assert!(!contains(bytes, &pushing[0].token), "the token is in {place}");
        looked += 1;
    }
    assert!(looked > 20, "{looked} places");
    assert!(
        written
            .iter()
            .any(|(_, bytes)| contains(bytes, "credential for git was given")),
        "logs are looked at"
    );
}

#[tokio::test]
async fn a_static_token_serves_members_and_is_cleaned_from_what_the_model_reads() {
    let token = "ghp_a_static_token";
    let print = "printf 'url=ORIGIN/octo/hello.git\\n\\n' | git credential fill";
    let world = World::new(Connected::Token(token), &[PUSH, print]).await;
    let journal = world.run("MEMBER").await;
    let results = results(&journal);
    assert_eq!(results[0], ("More\nBegin\n".into(), false), "{results:?}");
    assert!(
        results[1].0.contains("password=[credential removed]"),
        "{results:?}"
    );
    assert!(!serde_json::to_string(&journal).unwrap().contains(token));
    assert!(
        world
            .model
            .requests()
            .iter()
            .all(|request| !contains(&request.body, token))
    );
}

#[tokio::test]
async fn what_an_outsider_says_gets_no_right_to_write() {
    let clone = "git clone -q ORIGIN/octo/hello.git && cat hello/README.md";
    let push = "cd ~/hello && git push -q origin HEAD:work";
    let world = World::new(Connected::App, &[clone, push]).await;
    let results_of_app = results(&world.run("NONE").await);
    assert_eq!(
        results_of_app[0],
        ("# hello\n".into(), false),
        "{results_of_app:?}"
    );
    assert!(results_of_app[1].1, "{results_of_app:?}");
    let bare = world.directory.path().join("repositories/octo/hello.git");
    assert_eq!(git(&["branch", "--list", "work"], &bare), "");

    let world = World::new(Connected::Token("ghp_a_static_token"), &[clone]).await;
    let with_token = results(&world.run("NONE").await);
    assert!(
        with_token[0].1 && with_token[0].0.contains("can't be narrowed"),
        "{with_token:?}"
    );
    assert!(world.git.issued().is_empty());
}
