//! An edge in this process, on a port of its own, whose clock a test puts forward; stand-ins for its channels; and the little
//! of a runner that makes a reply of a message. For tests of what the edge does later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Method, StatusCode};
use roost_edge::{
    auth::token::Audience,
    edge::{PrivateAddresses, Settings},
    host::native::{self, DatabaseAddress},
    ports::Clock,
};
use roost_runner::{
    fixture::{Fixture, Order, Place, Signed},
    standin::{
        github::{GithubConfig, GithubServer},
        telegram::TelegramServer,
    },
};
use roost_shared::{RunId, UnixMillis, event::EventBody, wire::PollResponse};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    office::{Channels, Office, SECRET},
    process::PATIENCE,
};

/// How long tokens are good: longer than any test puts the clock forward.
const TOKEN_SPAN: Duration = Duration::from_secs(90 * 86_400);

/// The machine's clock, put forward.
struct Shifted {
    machine: Arc<dyn Clock>,
    ahead: Arc<AtomicU64>,
}

impl Clock for Shifted {
    fn now(&self) -> UnixMillis {
        self.machine.now() + Duration::from_millis(self.ahead.load(Ordering::SeqCst))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.machine.sleep(span)
    }
}

/// The edge, its channels, and an agent `roost` that listens on all of them.
pub struct Desk {
    /// Its set-up, and the edge itself.
    pub office: Office,
    /// Where it listens.
    pub url: String,
    /// GitHub.
    pub github: GithubServer,
    /// Telegram.
    pub telegram: TelegramServer,
    ahead: Arc<AtomicU64>,
    client: reqwest::Client,
    runner_token: String,
    server: JoinHandle<std::io::Result<()>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Desk {
    /// Sets everything up on an empty database.
    ///
    /// # Panics
    /// When that fails.
    pub async fn open(database: &DatabaseAddress) -> Self {
        let github = GithubConfig {
            token: Some("a GitHub token".into()),
            app_public_key: Some(include_str!("../tests/keys/app.pub.pem").to_owned()),
            ..GithubConfig::default()
        };
        let github = GithubServer::start(github).await.expect("a port");
        let telegram = TelegramServer::start("1:bot-token").await.expect("a port");
        let ahead = Arc::<AtomicU64>::default();
        let (office, url, server) = serve(database, &ahead).await;
        let channels = Channels {
            github: github.url(),
            telegram: telegram.url(),
        };
        office.connect(&channels).await;
        office.employ("roost", "scripted/scripted").await;
        let runner_token = office.token(Audience::Runner, "desk", TOKEN_SPAN);
        Self {
            office,
            url,
            github,
            telegram,
            ahead,
            client: reqwest::Client::new(),
            runner_token,
            server,
        }
    }

    /// The edge ends, and another one goes on with that database, beside the same channels and by the same clock.
    ///
    /// # Panics
    /// When that fails.
    pub async fn go_on_with(&mut self, database: &DatabaseAddress) {
        self.server.abort();
        (self.office, self.url, self.server) = serve(database, &self.ahead).await;
    }

    /// Puts the edge's clock forward.
    pub fn pass(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).expect("a short span");
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }

    /// A message that mentions the agent, as its channel sends it: on GitHub on issue `number`, on Telegram in chat `number`.
    pub fn signed(&self, fixture: Fixture, number: u32) -> Signed {
        let text = match fixture {
            Fixture::TelegramMessage => "@roost_test_bot hello",
            _ => "@roost hello",
        };
        fixture.make(&Order {
            secret: SECRET,
            text,
            id: number.into(),
            now: self.office.edge.now(),
            place: Place {
                number,
                ..Place::default()
            },
            ..Order::default()
        })
    }

    /// Posts such a message to an edge of this database. Gives the status and the answer.
    ///
    /// # Panics
    /// When the edge does not answer.
    pub async fn say(&self, edge: &str, fixture: Fixture, number: u32) -> (StatusCode, Value) {
        let hook = match fixture {
            Fixture::TelegramMessage => "telegram",
            Fixture::GenericMessage => "generic",
            _ => "github",
        };
        let signed = self.signed(fixture, number);
        let posting = self.client.post(format!("{edge}/hooks/main/{hook}"));
        let answer = posting
            .headers(signed.headers)
            .body(signed.body)
            .send()
            .await
            .expect("the edge answers");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    /// As a runner, takes every run that waits at an edge of this database and completes it with `reply`.
    ///
    /// # Panics
    /// When the edge does not play along.
    pub async fn reply(&self, edge: &str, reply: &str) -> Vec<RunId> {
        let poll = json!({"runner": "desk", "room": 64, "held": [], "wait_ms": 0});
        let polled: PollResponse =
            serde_json::from_value(self.did(edge, "/poll", &poll).await).expect("a poll");
        let mut runs = Vec::new();
        for lease in polled.leases {
            let completed = EventBody::Completed {
                reply: Some(reply.to_owned()),
            };
            let append = json!({
                "epoch": lease.epoch, "expected_seq": lease.journal.len(), "events": [completed],
            });
            self.did(edge, &format!("/runs/{}/events", lease.run), &append)
                .await;
            runs.push(lease.run);
        }
        runs
    }

    /// What a runner asks for from time to time.
    ///
    /// # Panics
    /// When the edge does not answer.
    pub async fn tick(&self) {
        self.did(&self.url, "/tick", &json!({})).await;
    }

    /// Calls the runner's API of an edge of this database; the status and the answer.
    ///
    /// # Panics
    /// When the edge does not answer.
    pub async fn runner(&self, edge: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let asking = self.client.post(format!("{edge}/runner/v1{path}"));
        let answer = asking
            .bearer_auth(&self.runner_token)
            .json(body)
            .send()
            .await
            .expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn did(&self, edge: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.runner(edge, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Calls the public API; nothing is sent as the body where it is null.
    ///
    /// # Panics
    /// When the edge does not answer.
    pub async fn api(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let token = self.office.token(Audience::Api, "a user", TOKEN_SPAN);
        let mut asking = self
            .client
            .request(method, format!("{}/api/v1{path}", self.url))
            .bearer_auth(token);
        if !body.is_null() {
            asking = asking.json(&body);
        }
        let answer = asking.send().await.expect("an answer");
        (answer.status(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Asks for a page of the admin, or sends a form, as a signed-in browser.
    ///
    /// # Panics
    /// When there is no such page, or the form is refused.
    pub async fn admin(&self, method: Method, path: &str, form: &str) -> String {
        let code = self.office.token(Audience::Login, "a user", TOKEN_SPAN);
        let signing = self.client.post(format!("{}/api/v1/login", self.url));
        let signed = signing
            .json(&json!({ "code": code }))
            .send()
            .await
            .expect("an answer");
        let cookie = signed.headers()["set-cookie"].to_str().expect("text");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let asking = self.client.request(method, format!("{}{path}", self.url));
        let answer = asking
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let page = answer.text().await.expect("a page");
        assert!(
            status.is_success() || status.is_redirection(),
            "{path}: {status} {page}"
        );
        page
    }

    /// The run's only reply, as the API shows it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn effect(&self, run: RunId) -> Value {
        let (_, page) = self
            .api(Method::GET, &format!("/effects?run={run}"), Value::Null)
            .await;
        page["items"][0].clone()
    }

    /// Waits until the run's reply is in this state, without ticking: what is sent at once.
    ///
    /// # Panics
    /// When it never is.
    pub async fn until(&self, run: RunId, state: &str) -> Value {
        let waiting = async {
            loop {
                let effect = self.effect(run).await;
                if effect["state"] == state {
                    return effect;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(effect) => effect,
            Err(_) => panic!("not {state}: {}", self.effect(run).await),
        }
    }
}

/// An edge on a database and a port of its own, by a clock that is so far ahead.
async fn serve(
    database: &DatabaseAddress,
    ahead: &Arc<AtomicU64>,
) -> (Office, String, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut ports = native::ports(database).expect("the database opens");
    ports.clock = Arc::new(Shifted {
        machine: ports.clock,
        ahead: ahead.clone(),
    });
    let settings = Settings {
        private_addresses: PrivateAddresses::Allowed,
        // A test says itself when what is due is done.
        tick: PATIENCE * 10,
        ..Settings::new(&url)
    };
    let office = Office::with(ports, settings).await;
    let edge = office.edge.clone();
    let server = tokio::spawn(native::serve(listener, edge, std::future::pending()));
    (office, url, server)
}
