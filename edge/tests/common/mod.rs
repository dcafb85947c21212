//! An edge on an embedded database in a directory of its own, called without a socket.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "test helpers: every test crate uses its part of them"
)]

pub mod browser;
pub mod github;
pub mod plans;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use roost_edge::{
    auth::{
        keys::MasterKey,
        token::{Audience, Tokens},
    },
    config::Rule,
    db::migrate::migrate,
    edge::{DEFAULT_WORKSPACE, Edge, Settings},
    host::native::{self, DatabaseAddress},
    integration::{GenericSettings, Integration, Secrets, SignatureScheme},
    ports::Clock,
    setup::{self, AgentDraft, IntegrationDraft, SubscriptionDraft},
};
use roost_shared::{
    UnixMillis,
    agent::{AgentSpec, LaneMode, LaneRules, RunLimits},
    sprite::SpriteOwner,
};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A clock that stands until the test moves it.
pub struct Hands(pub AtomicI64);

impl Clock for Hands {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// The generic integration's secret.
pub const SECRET: &str = "a secret for tests";

/// An edge and the directory it lives in.
pub struct TestEdge {
    pub edge: Arc<Edge>,
    pub workspace: &'static str,
    pub runner_token: String,
    pub directory: tempfile::TempDir,
}

impl TestEdge {
    /// An edge with its workspace, its settings changed by `adjust`.
    pub async fn with(adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::on(None, adjust).await
    }

    /// The same, by a clock of the test's own.
    pub async fn on_clock(clock: Arc<dyn Clock>, adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::on(Some(clock), adjust).await
    }

    async fn on(clock: Option<Arc<dyn Clock>>, adjust: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = DatabaseAddress::File(directory.path().join("roost.db"));
        let mut ports = native::ports(&address).unwrap();
        ports.clock = clock.unwrap_or(ports.clock);
        let now = ports.clock.now();
        migrate(&ports.database, now).await.unwrap();
        setup::ensure_workspace(&ports.database, DEFAULT_WORKSPACE, now)
            .await
            .unwrap();
        let mut settings = Settings::new("http://127.0.0.1");
        adjust(&mut settings);
        ports.database = Arc::new(plans::Planned::new(ports.database));
        let edge = Edge::new(ports, settings, &MasterKey::from_bytes([5; 32]));
        let runner_token = runner_token(&edge, DEFAULT_WORKSPACE);
        Self {
            edge,
            workspace: DEFAULT_WORKSPACE,
            runner_token,
            directory,
        }
    }

    /// Another workspace of the same edge, in the same database.
    pub async fn beside(&self, workspace: &'static str) -> Self {
        let edge = self.edge.clone();
        setup::ensure_workspace(&edge.ports.database, workspace, edge.now())
            .await
            .unwrap();
        Self {
            workspace,
            runner_token: runner_token(&edge, workspace),
            directory: tempfile::tempdir().unwrap(),
            edge,
        }
    }

    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A generic integration `hooks` whose messages all go to the agent `handle`.
    pub async fn employ(&self, handle: &str) -> (AgentSpec, Integration) {
        self.hire(handle, LaneRules::default()).await
    }

    /// As [`TestEdge::employ`], with rules for the agent's lanes.
    pub async fn hire(&self, handle: &str, lane: LaneRules) -> (AgentSpec, Integration) {
        let scope = self.edge.scope(self.workspace);
        let draft = AgentDraft {
            handle: handle.into(),
            name: handle.into(),
            persona: String::new(),
            model: "scripted/demo".into(),
            tools: Vec::new(),
            sprite: SpriteOwner::Agent,
            lane,
            limits: RunLimits::default(),
            enabled: true,
        };
        let agent = setup::create_agent(&self.edge, &scope, draft).await.unwrap();
        let integration = match self.edge.configs.reload(&scope).await.unwrap().by_name("hooks") {
            Some(stored) => stored.integration.clone(),
            None => setup::create_integration(&self.edge, &scope, hooks())
                .await
                .unwrap(),
        };
        let draft = SubscriptionDraft {
            agent: agent.id,
            integration: integration.id,
            rule: Rule::Any,
        };
        setup::subscribe(&self.edge, &scope, &draft).await.unwrap();
        (agent, integration)
    }

    /// Sends a request and gives status and JSON.
    pub async fn call(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.edge.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Posts a signed message to `hooks`.
    pub async fn say(&self, id: &str, conversation: &str, text: &str) -> (StatusCode, Value) {
        let mut request = signed(id, conversation, text);
        *request.uri_mut() = format!("/hooks/{}/hooks", self.workspace).parse().unwrap();
        self.call(request).await
    }

    /// Calls the runner's API.
    pub async fn runner(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::post(format!("/runner/v1{path}"))
            .header("authorization", format!("Bearer {}", self.runner_token))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        self.call(request).await
    }

    /// Polls once as runner `name`, without waiting.
    pub async fn poll(&self, name: &str, held: Value) -> Value {
        let (status, body) = self
            .runner(
                "/poll",
                json!({"runner": name, "room": 4, "held": held, "wait_ms": 0}),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }
}

/// The real time, in milliseconds since 1970.
pub fn real_now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Rules for lanes.
pub fn lane(mode: LaneMode, debounce_ms: u32) -> LaneRules {
    LaneRules { mode, debounce_ms }
}

/// A runner token of one of the edge's workspaces.
pub fn runner_token(edge: &Edge, workspace: &str) -> String {
    let span = Duration::from_secs(3600);
    let claims = Tokens::claims(
        Audience::Runner,
        edge.token_id(),
        workspace,
        "tests",
        edge.now(),
        span,
    );
    edge.tokens.issue(&claims).unwrap()
}

/// The integration `hooks`: HMAC in `x-signature`, the event's id in `x-id`.
pub fn hooks() -> IntegrationDraft {
    let signature = SignatureScheme::Hmac {
        header: "x-signature".into(),
        prefix: String::new(),
        encoding: Default::default(),
        id_header: Some("x-id".into()),
    };
    IntegrationDraft {
        name: "hooks".into(),
        settings: roost_edge::integration::Settings::Generic(GenericSettings {
            signature,
            reply_url: None,
        }),
        secrets: Some(Secrets::Generic {
            signing: vec![SECRET.into()],
        }),
        enabled: true,
    }
}

/// A properly signed message to `hooks`.
pub fn signed(id: &str, conversation: &str, text: &str) -> Request<Body> {
    sent(
        id,
        &json!({"text": text, "conversation": conversation, "actor": "a user"}),
    )
}

/// The same from somebody the channel vouches for.
pub fn signed_by_member(id: &str, conversation: &str, text: &str) -> Request<Body> {
    let actor = json!({"id": "7", "name": "a member", "trust": "member"});
    sent(
        id,
        &json!({"text": text, "conversation": conversation, "actor": actor}),
    )
}

fn sent(id: &str, body: &Value) -> Request<Body> {
    use hmac::{Hmac, KeyInit, Mac};
    let body = body.to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    Request::post("/hooks/main/hooks")
        .header("content-type", "application/json")
        .header("x-id", id)
        .header("x-signature", hex::encode(mac.finalize().into_bytes()))
        .body(Body::from(body))
        .unwrap()
}

/// A request of a person or their program: an API token, or a session's cookie from one of our own pages.
pub enum As<'a> {
    Token(&'a str),
    Cookie(&'a str),
    Nobody,
}

impl TestEdge {
    /// A token of the edge.
    pub fn token(&self, audience: Audience, workspace: &str) -> String {
        let edge = &self.edge;
        let span = Duration::from_secs(3600);
        let claims = Tokens::claims(audience, edge.token_id(), workspace, "a user", edge.now(), span);
        edge.tokens.issue(&claims).unwrap()
    }

    /// Signs in with a fresh code and gives the session's cookie.
    pub async fn sign_in(&self) -> String {
        let code = self.token(Audience::Login, DEFAULT_WORKSPACE);
        let request = Request::post("/api/v1/login")
            .header("content-type", "application/json")
            .body(Body::from(json!({ "code": code }).to_string()))
            .unwrap();
        let response = self.edge.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Calls the public API, with a body unless it is null.
    pub async fn api(&self, who: As<'_>, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(api_request(who, method, path, body)).await
    }

    /// Lets a runner take every waiting run and gives the leases.
    pub async fn lease(&self) -> Vec<Value> {
        let body = self.poll("one", json!([])).await;
        body["leases"].as_array().unwrap().clone()
    }

    /// Appends events to a run under its first lease.
    pub async fn append(&self, run: &str, expected_seq: u64, events: Value) {
        let body = json!({"epoch": 1, "expected_seq": expected_seq, "events": events});
        let (status, body) = self.runner(&format!("/runs/{run}/events"), body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// A run that was delivered, leased and completed.
    pub async fn completed(&self, id: &str) -> String {
        let (_, received) = self.say(id, id, "please look").await;
        self.lease().await;
        let run = received["runs"][0].as_str().unwrap().to_owned();
        for (seq, events) in [2, 3, 5].into_iter().zip(work()) {
            self.append(&run, seq, events).await;
        }
        run
    }
}

/// A model answer that asks for `bash`, its result, and the end.
pub fn work() -> [Value; 3] {
    let usage = json!({"input": 100, "output": 20, "cache_read": 7, "cache_write": 0});
    let call = json!({"type": "tool_call", "id": "t1", "name": "bash", "input": {"command": "ls"}});
    [
        json!([{"type": "model_answered", "model": "demo", "blocks": [call], "stop": "tool_use", "usage": usage,
                "cost": 225, "first_byte_ms": 3, "took_ms": 9}]),
        json!([{"type": "tool_started", "call": "t1", "class": "at_most_once"},
               {"type": "tool_finished", "call": "t1", "text": "a\nb", "took_ms": 4}]),
        json!([{"type": "completed", "reply": "done"}]),
    ]
}

/// A request to the public API, with a body unless it is null.
pub fn api_request(who: As<'_>, method: &str, path: &str, body: Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    request = match who {
        As::Token(token) => request.header("authorization", format!("Bearer {token}")),
        As::Cookie(cookie) => request
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin"),
        As::Nobody => request,
    };
    if body.is_null() {
        return request.body(Body::empty()).unwrap();
    }
    request
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// The messages of a stream of server-sent events, read as they come.
pub struct Messages {
    body: Body,
    text: String,
}

/// One message: its id, its type and its data.
pub struct Message {
    pub id: Option<u64>,
    pub event: Option<String>,
    pub data: String,
}

impl Messages {
    pub fn of(response: axum::response::Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next message; nothing when the stream has ended.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let message = Message::parse(block);
                self.text = rest.to_owned();
                if message.is_some() {
                    return message;
                }
                continue;
            }
            let frame = self.body.frame().await?.unwrap();
            self.text
                .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

impl Message {
    /// The message in a block of lines; nothing if it is only a comment.
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &'static str| {
            block
                .lines()
                .filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let data: Vec<_> = field("data").collect();
        (!data.is_empty()).then(|| Self {
            id: field("id").next().map(|id| id.parse().unwrap()),
            event: field("event").next().map(str::to_owned),
            data: data.join("\n"),
        })
    }
}
