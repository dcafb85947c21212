//! Who gets in: tokens, login codes, sessions, other sites' pages, other workspaces.

mod common;

use common::{As, TestEdge, api_request};
use http::StatusCode;
use roost_edge::{api::ROUTES, auth::token::Audience, edge::DEFAULT_WORKSPACE, setup};
use serde_json::{Value, json};
use tower::ServiceExt;

const OK: StatusCode = StatusCode::OK;

#[tokio::test]
async fn a_token_works_for_its_purpose_until_it_is_revoked() {
    let t = TestEdge::new().await;
    let admin = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let make = async |body: Value| t.api(As::Token(&admin), "POST", "/tokens", body).await;
    let revoke = async |id: &Value| {
        let path = format!("/tokens/{}", id.as_str().unwrap());
        t.api(As::Token(&admin), "DELETE", &path, Value::Null).await.0
    };
    let (status, api) = make(json!({"for": "api", "name": "ci", "days": 1})).await;
    assert_eq!(status, StatusCode::CREATED, "{api}");
    let use_it = async || {
        t.api(
            As::Token(api["token"].as_str().unwrap()),
            "GET",
            "/session",
            Value::Null,
        )
        .await
    };
    let (status, session) = use_it().await;
    assert_eq!((status, &session["name"]), (OK, &json!("ci")));
    assert_eq!(revoke(&api["id"]).await, StatusCode::NO_CONTENT);
    let (status, refused) = use_it().await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (StatusCode::UNAUTHORIZED, &json!("token_revoked"))
    );

    let (_, runner) = make(json!({"for": "runner", "name": "laptop"})).await;
    let t = TestEdge {
        runner_token: runner["token"].as_str().unwrap().into(),
        ..t
    };
    t.poll("one", json!([])).await;
    let (status, body) = t
        .api(As::Token(&t.runner_token), "GET", "/runs", Value::Null)
        .await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::UNAUTHORIZED, &json!("token_invalid")),
        "a runner's token opens nothing here"
    );
    let path = format!("/tokens/{}", runner["id"].as_str().unwrap());
    t.api(As::Token(&admin), "DELETE", &path, Value::Null).await;
    for path in ["/poll", "/tick"] {
        let (status, body) = t.runner(path, json!({"runner": "one", "room": 1})).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::UNAUTHORIZED, &json!("token_revoked")),
            "{path}"
        );
    }
    let (_, runners) = t.api(As::Token(&admin), "GET", "/runners", Value::Null).await;
    assert_eq!(runners["items"][0]["revoked"], true);
}

#[tokio::test]
async fn a_login_code_is_good_once_and_a_session_until_it_is_ended() {
    let t = TestEdge::with(|settings| settings.public_url = "https://roost.example".into()).await;
    let code = t.token(Audience::Login, DEFAULT_WORKSPACE);
    let login = |code: &str| api_request(As::Nobody, "POST", "/login", json!({ "code": code }));
    let (first, second) = tokio::join!(
        t.edge.router().oneshot(login(&code)),
        t.edge.router().oneshot(login(&code))
    );
    let mut answers = [first.unwrap(), second.unwrap()];
    answers.sort_by_key(|answer| answer.status());
    let [good, bad] = answers;
    assert_eq!((good.status(), bad.status()), (OK, StatusCode::UNAUTHORIZED));
    let cookie = good.headers()["set-cookie"].to_str().unwrap();
    for part in [
        "__Host-",
        "HttpOnly",
        "SameSite=Strict",
        "Secure",
        "Path=/",
        "Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let (status, session) = t.api(As::Cookie(cookie), "GET", "/session", Value::Null).await;
    assert_eq!((status, &session["workspace"]), (OK, &json!(DEFAULT_WORKSPACE)));
    let (status, _) = t.api(As::Cookie(cookie), "POST", "/logout", Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = t.api(As::Cookie(cookie), "GET", "/session", Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a kept cookie is worth nothing");
    let (_, spent) = t.call(login(&code)).await;
    assert_eq!(spent["error"]["code"], "code_spent");
    let session = t.token(Audience::Session, DEFAULT_WORKSPACE);
    let (_, wrong) = t.call(login(&session)).await;
    assert_eq!(wrong["error"]["code"], "code_invalid");
}

#[tokio::test]
async fn another_sites_page_can_change_nothing() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let cookie = t.sign_in().await;
    let (_, received) = t.say("e1", "c1", "hello").await;
    let path = format!("/runs/{}/cancel", received["runs"][0].as_str().unwrap());
    let sent_with = async |headers: &[(&'static str, &'static str)]| {
        let mut request = api_request(As::Nobody, "POST", &path, Value::Null);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        t.call(request).await
    };
    for headers in [
        &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null"), ("host", "127.0.0.1")],
        &[("origin", "http://127.0.0.1.evil.example"), ("host", "127.0.0.1")],
        &[],
    ] {
        let (status, body) = sent_with(headers).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::FORBIDDEN, &json!("cross_site")),
            "{headers:?}"
        );
    }
    let (status, _) = sent_with(&[("origin", "http://127.0.0.1")]).await;
    assert_eq!(status, OK, "the public address is ours");
    let code = t.token(Audience::Login, DEFAULT_WORKSPACE);
    let mut request = api_request(As::Nobody, "POST", "/login", json!({ "code": code }));
    request
        .headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(t.call(request).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_or_into_another_workspace() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let run = t.completed("e1").await;
    let now = t.edge.now();
    setup::ensure_workspace(&t.edge.ports.database, "other", now)
        .await
        .unwrap();
    let ours = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let (_, shown) = t
        .api(As::Token(&ours), "GET", &format!("/runs/{run}"), Value::Null)
        .await;
    let id = |of: &Value| of.as_str().unwrap().to_owned();
    let (_, subscriptions) = t
        .api(As::Token(&ours), "GET", "/subscriptions", Value::Null)
        .await;
    let agent = json!({"handle": "ada", "name": "Mallory", "model": "a/b"});
    let integration = json!({"name": "hooks", "settings": {"channel": "generic"}});

    for (method, path) in ROUTES {
        let path = path.strip_prefix("/api/v1").unwrap();
        let (owner, body) = match path.split('/').nth(1).unwrap() {
            "login" => continue,
            "runs" => (run.clone(), json!({"text": "hello"})),
            "effects" => (id(&shown["effects"][0]["id"]), Value::Null),
            "deliveries" => (id(&shown["asked"]["delivery"]), Value::Null),
            "agents" => (id(&shown["agent"]["id"]), agent.clone()),
            "integrations" => (id(&shown["integration"]["id"]), integration.clone()),
            "subscriptions" => (id(&subscriptions["items"][0]["id"]), Value::Null),
            _ => (run.clone(), Value::Null),
        };
        let (method, path) = (method.to_uppercase(), path.replace("{id}", &owner));
        let (status, body_of_none) = t.api(As::Nobody, &method, &path, body.clone()).await;
        assert_eq!(
            (status, &body_of_none["error"]["code"]),
            (StatusCode::UNAUTHORIZED, &json!("unauthorized")),
            "{method} {path}"
        );
        // A fresh one each time, since signing out ends it.
        let theirs = t.token(Audience::Api, "other");
        let (status, answer) = t.api(As::Token(&theirs), &method, &path, body).await;
        if method == "GET" && path.matches('/').count() == 1 {
            assert!(
                status == OK && !answer.to_string().contains(&owner),
                "{path}: {answer}"
            );
        } else if path.contains(&owner) && !path.contains("/tokens/") && method != "DELETE" {
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
        }
    }
    let (_, kept) = t
        .api(As::Token(&ours), "GET", "/subscriptions", Value::Null)
        .await;
    assert_eq!(
        kept, subscriptions,
        "what another workspace deletes is not what is ours"
    );
    let theirs = t.token(Audience::Api, "other");
    let (_, runners) = t.api(As::Token(&theirs), "GET", "/runners", Value::Null).await;
    assert_eq!(runners["items"], json!([]));
}
