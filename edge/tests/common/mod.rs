//! An edge on an embedded database in a directory of its own, called without a socket.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "test helpers: every test crate uses its part of them"
)]

use std::{sync::Arc, time::Duration};

use axum::body::Body;
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
    setup::{self, AgentDraft, IntegrationDraft, SubscriptionDraft},
};
use roost_shared::agent::{AgentSpec, RunLimits};
use serde_json::{Value, json};
use tower::ServiceExt;

/// The generic integration's secret.
pub const SECRET: &str = "a secret for tests";

/// An edge and the directory it lives in.
pub struct TestEdge {
    pub edge: Arc<Edge>,
    pub runner_token: String,
    pub directory: tempfile::TempDir,
}

impl TestEdge {
    /// An edge with its workspace, its settings changed by `adjust`.
    pub async fn with(adjust: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = DatabaseAddress::File(directory.path().join("roost.db"));
        let ports = native::ports(&address).unwrap();
        let now = ports.clock.now();
        migrate(&ports.database, now).await.unwrap();
        setup::ensure_workspace(&ports.database, DEFAULT_WORKSPACE, now)
            .await
            .unwrap();
        let mut settings = Settings::new("http://127.0.0.1");
        adjust(&mut settings);
        let edge = Edge::new(ports, settings, &MasterKey::from_bytes([5; 32]));
        let runner_token = runner_token(&edge);
        Self {
            edge,
            runner_token,
            directory,
        }
    }

    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A generic integration `hooks` whose messages all go to the agent `handle`.
    pub async fn employ(&self, handle: &str) -> (AgentSpec, Integration) {
        let scope = self.edge.scope(DEFAULT_WORKSPACE);
        let draft = AgentDraft {
            handle: handle.into(),
            name: handle.into(),
            persona: String::new(),
            model: "scripted/demo".into(),
            tools: Vec::new(),
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
        self.call(signed(id, conversation, text)).await
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

/// A runner token of the edge.
pub fn runner_token(edge: &Edge) -> String {
    let span = Duration::from_secs(3600);
    let claims = Tokens::claims(
        Audience::Runner,
        edge.token_id(),
        DEFAULT_WORKSPACE,
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
    use hmac::{Hmac, KeyInit, Mac};
    let body = json!({"text": text, "conversation": conversation, "actor": "a user"}).to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    Request::post("/hooks/main/hooks")
        .header("content-type", "application/json")
        .header("x-id", id)
        .header("x-signature", hex::encode(mac.finalize().into_bytes()))
        .body(Body::from(body))
        .unwrap()
}
