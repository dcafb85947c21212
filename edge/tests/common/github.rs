//! GitHub as an edge hears it: an integration that an agent listens to, and what becomes of comments.

use axum::body::Body;
use http::{Request, StatusCode};
use roost_edge::{
    config::Rule,
    edge::DEFAULT_WORKSPACE,
    integration::{GithubSettings, Secrets, Settings},
    setup::{self, IntegrationDraft, SubscriptionDraft},
};
use roost_shared::AgentId;
use serde_json::{Value, json};

use super::TestEdge;

const SECRET: &str = "a secret for GitHub";

/// A GitHub integration `github` of which the agent hears everything.
pub async fn connect(t: &TestEdge, agent: AgentId) {
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let draft = IntegrationDraft {
        name: "github".into(),
        settings: Settings::Github(GithubSettings {
            api_url: "http://127.0.0.1:9".into(),
            app_id: None,
            bot_login: "roost[bot]".into(),
            repositories: Vec::new(),
        }),
        secrets: Some(Secrets::Github {
            webhook_secret: SECRET.into(),
            private_key: None,
            token: Some("a token".into()),
        }),
        enabled: true,
    };
    let integration = setup::create_integration(&t.edge, &scope, draft).await.unwrap();
    let draft = SubscriptionDraft {
        agent,
        integration: integration.id,
        rule: Rule::Any,
    };
    setup::subscribe(&t.edge, &scope, &draft).await.unwrap();
}

/// A comment, or what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Comment<'a> {
    /// GitHub's id of what happens.
    pub delivery: &'a str,
    /// `created`, `edited` or `deleted`.
    pub action: &'a str,
    pub issue: u64,
    pub id: u64,
    pub text: &'a str,
    /// How GitHub knows its author, e.g. `MEMBER`.
    pub association: &'a str,
}

/// Tells the edge of it.
pub async fn tell(t: &TestEdge, comment: Comment<'_>) -> Value {
    use hmac::{Hmac, KeyInit, Mac};
    let user = json!({"login": "olga", "id": 2, "type": "User"});
    let body = json!({
        "action": comment.action,
        "issue": {"number": comment.issue, "title": "A bug", "user": user},
        "comment": {
            "id": comment.id, "body": comment.text, "user": user, "author_association": comment.association,
        },
        "sender": user,
        "repository": {"full_name": "octo/repo"},
    })
    .to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let request = Request::post("/hooks/main/github")
        .header("content-type", "application/json")
        .header("x-github-event", "issue_comment")
        .header("x-github-delivery", comment.delivery)
        .header("x-hub-signature-256", format!("sha256={signature}"))
        .body(Body::from(body))
        .unwrap();
    let (status, received) = t.call(request).await;
    assert_eq!(status, StatusCode::OK, "{received}");
    received
}
