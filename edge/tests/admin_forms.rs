//! The admin's forms: what each sends is what the edge then does.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    SECRET, TestEdge,
    browser::{Browser, target, text},
};
use http::StatusCode;
use roost_edge::{edge::DEFAULT_WORKSPACE, setup};
use serde_json::json;

#[tokio::test]
async fn an_integration_is_connected_corrected_and_changed_without_showing_a_secret() {
    let t = TestEdge::new().await;
    let browser = Browser::of(&t).await;
    let new = "/admin/integrations/new/generic";
    let blank = browser.page(new).await;
    assert!(blank.contains("was made up for you"), "{blank}");
    let hmac = [
        ("scheme", "hmac"),
        ("header", "x-signature"),
        ("id_header", "x-id"),
    ];
    let fields = |name: &'static str, secret: &'static str| {
        [
            &hmac[..],
            &[("name", name), ("signing", secret), ("enabled", "on")],
        ]
        .concat()
    };
    let wrong = browser.post(new, &fields("No Such Name", SECRET)).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let wrong = text(wrong).await;
    for part in ["role=\"alert\"", "No Such Name", "x-signature", "Enter it again"] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    assert!(!wrong.contains(SECRET), "what was typed as a secret is not kept");

    let made = browser.post(new, &fields("hooks", SECRET)).await;
    let path = target(&made).split('?').next().unwrap().to_owned();
    let page = browser.page(target(&made)).await;
    assert!(page.contains("http://127.0.0.1/hooks/main/hooks") && !page.contains(SECRET));

    // With the secret field left empty, the stored one stays.
    let changed = browser
        .post(
            &path,
            &[&hmac[..], &[("reply_url", "https://example.com/x")]].concat(),
        )
        .await;
    assert!(target(&changed).ends_with("?done=saved"));
    let page = browser.page(&path).await;
    assert!(page.contains("https://example.com/x") && page.contains("state disabled"));
    assert_eq!(t.say("e1", "c1", "hello").await.0, StatusCode::FORBIDDEN);
    browser
        .post(&path, &[&hmac[..], &[("enabled", "on")]].concat())
        .await;
    assert_eq!(t.say("e2", "c1", "hello").await.0, StatusCode::OK);
    // A new secret is taken beside the old one, until the old one is dropped.
    let both = [&hmac[..], &[("enabled", "on"), ("signing", "another secret")]].concat();
    browser.post(&path, &both).await;
    assert_eq!(t.say("e3", "c1", "hello").await.0, StatusCode::OK);
    let only = [
        &hmac[..],
        &[("enabled", "on"), ("signing", "a third secret"), ("forget", "on")],
    ]
    .concat();
    browser.post(&path, &only).await;
    assert_eq!(t.say("e4", "c1", "hello").await.0, StatusCode::UNAUTHORIZED);

    for (channel, fields) in [
        (
            "github",
            &[
                ("bot_login", "roost[bot]"),
                ("webhook_secret", "s"),
                ("token", "t"),
                ("api_url", "https://api.github.com"),
            ][..],
        ),
        (
            "telegram",
            &[
                ("bot_username", "@roost_bot"),
                ("secret_token", "s"),
                ("bot_token", "1:x"),
                ("members", "12 34"),
                ("api_url", "https://api.telegram.org/"),
            ],
        ),
    ] {
        let fields = [fields, &[("name", channel)]].concat();
        let made = browser
            .post(&format!("/admin/integrations/new/{channel}"), &fields)
            .await;
        let page = browser.page(target(&made)).await;
        assert!(
            page.contains(&format!("/hooks/main/{channel}")),
            "{channel}: {page}"
        );
        let path = target(&made).split('?').next().unwrap();
        let kept: Vec<_> = fields
            .iter()
            .filter(|(name, _)| !["webhook_secret", "token", "secret_token", "bot_token"].contains(name))
            .copied()
            .collect();
        assert!(
            target(&browser.post(path, &kept).await).ends_with("saved"),
            "{channel}"
        );
    }
}

#[tokio::test]
async fn an_agent_is_created_listens_and_is_changed() {
    let t = TestEdge::new().await;
    let browser = Browser::of(&t).await;
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let hooks = setup::create_integration(&t.edge, &scope, common::hooks())
        .await
        .unwrap();
    let mut fields = vec![
        ("name", "Ada"),
        ("handle", "@ada"),
        ("model", "scripted"),
        ("persona", "Careful."),
        ("sprite", "run"),
        ("max_turns", "7"),
        ("max_cost", "0.50"),
        ("max_output_tokens", "100"),
        ("enabled", "on"),
    ];
    let wrong = browser.post("/admin/agents/new", &fields).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let wrong = text(wrong).await;
    assert!(wrong.contains("A model is written") && wrong.contains("Careful."));
    fields[2].1 = "scripted/demo";
    let made = browser.post("/admin/agents/new", &fields).await;
    let path = target(&made).split('?').next().unwrap().to_owned();
    let taken = browser.post("/admin/agents/new", &fields).await;
    assert_eq!(taken.status(), StatusCode::CONFLICT);

    let integration = hooks.id.to_string();
    let listen = [("integration", integration.as_str()), ("on", "any")];
    let listens = browser.post(&format!("{path}/subscriptions"), &listen).await;
    assert!(target(&listens).ends_with("listens"));
    let twice = browser.post(&format!("{path}/subscriptions"), &listen).await;
    assert!(text(twice).await.contains("listens to that already"));
    let (_, received) = t.say("e1", "c1", "hello").await;
    assert_eq!(received["verdict"], "accepted");
    let lease = &t.lease().await[0];
    assert_eq!(
        json!([
            lease["agent"]["name"],
            lease["agent"]["limits"]["max_cost"],
            lease["agent"]["limits"]["max_turns"],
            lease["agent"]["sprite"]
        ]),
        json!(["Ada", 500_000, 7, "run"])
    );
    assert!(browser.page("/admin/agents").await.contains("hooks: everything"));

    let page = browser.page(&path).await;
    assert!(page.contains("value=\"run\" selected"));
    let end = page
        .split("action=\"")
        .find(|part| part.contains("/subscriptions/"))
        .unwrap();
    let ended = browser.post(end.split('"').next().unwrap(), &[]).await;
    assert!(target(&ended).ends_with("listens"));
    assert!(browser.page(&path).await.contains("Nothing yet"));
    fields.retain(|(name, _)| *name != "enabled" && *name != "handle");
    assert!(target(&browser.post(&path, &fields).await).ends_with("saved"));
    let page = browser.page(&path).await;
    assert!(page.contains("Version 2") && page.contains("state disabled"));
}

#[tokio::test]
async fn a_runner_gets_a_token_that_is_shown_once_and_can_be_revoked() {
    let t = TestEdge::new().await;
    let browser = Browser::of(&t).await;
    let made = text(browser.post("/admin/runners/token", &[("name", "laptop")]).await).await;
    let token = made.split("--token ").nth(1).unwrap().split('<').next().unwrap();
    let t = TestEdge {
        runner_token: token.to_owned(),
        edge: t.edge.clone(),
        workspace: t.workspace,
        directory: tempfile::tempdir().unwrap(),
    };
    t.poll("one", json!([])).await;
    let page = browser.page("/admin/runners").await;
    assert!(page.contains("present") && !page.contains(token));
    let revoke = page
        .split("action=\"")
        .find(|part| part.contains("/revoke"))
        .unwrap();
    browser.post(revoke.split('"').next().unwrap(), &[]).await;
    assert!(browser.page("/admin/runners").await.contains("state revoked"));
    let (status, _) = t.runner("/poll", json!({"runner": "one", "room": 1})).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// The journal of a run, by the types of its events.
async fn kinds(t: &TestEdge, run: &str) -> Vec<String> {
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let events = "SELECT body ->> '$.type' FROM events WHERE workspace_id = ?1 AND run_id = ?2 ORDER BY seq";
    let rows = scope.query(events, [run.into()]).await.unwrap();
    rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
}

/// A run that a runner holds, and the path of its page.
async fn at_work(t: &TestEdge) -> (String, String) {
    t.employ("ada").await;
    let (_, received) = t.say("e1", "c1", "hello").await;
    t.lease().await;
    let run = received["runs"][0].as_str().unwrap().to_owned();
    let path = format!("/admin/runs/{run}");
    (run, path)
}

const UNTIL: i64 = 99_999_999_999_999;

#[tokio::test]
async fn a_pause_is_shown_while_it_is_awaited_and_can_be_taken_back() {
    let t = TestEdge::new().await;
    let (run, path) = at_work(&t).await;
    let browser = Browser::of(&t).await;
    let press = async |verb: &str| {
        let answer = browser.post(&format!("{path}/{verb}"), &[]).await;
        assert_eq!(target(&answer), path);
        browser.page(&path).await
    };
    let page = press("pause").await;
    assert!(
        page.contains("asked to pause it") && page.contains("Don't pause"),
        "{page}"
    );
    assert!(browser.page("/admin/runs").await.contains("running"));
    let page = press("resume").await;
    assert!(
        !page.contains("asked to pause it") && page.contains(">Pause<"),
        "{page}"
    );
    press("pause").await;
    let paused = json!([{"type": "paused", "by": "a user", "until": UNTIL}]);
    t.append(&run, 2, paused).await;
    assert!(browser.page("/admin/runs").await.contains("Paused"));
    assert!(press("resume").await.contains("let it go on"));
    assert_eq!(kinds(&t, &run).await, ["opened", "leased", "paused", "resumed"]);
    assert_eq!(t.lease().await[0]["run"], json!(run));
}

#[tokio::test]
async fn a_question_is_read_where_it_is_answered_and_the_answer_reaches_the_agent() {
    let t = TestEdge::new().await;
    let (run, path) = at_work(&t).await;
    let question =
        json!({"call": "t1", "text": "Was it done?\n```\n./publish 2\n```", "options": ["run", "skip"]});
    let asked = json!([{"type": "asked", "question": question, "until": UNTIL}]);
    t.append(&run, 2, asked).await;
    let browser = Browser::of(&t).await;
    for list in ["/admin/runs", "/admin/integrations"] {
        assert!(
            browser.page(list).await.contains("A run waits for a person"),
            "{list}"
        );
    }
    assert!(
        browser
            .page("/admin/runs?phase=waiting")
            .await
            .contains("Waits for an answer")
    );
    let page = browser.page(&path).await;
    let form = page
        .split("class=\"answer")
        .nth(1)
        .unwrap()
        .split("</form>")
        .next()
        .unwrap();
    for part in [
        "Was it done?",
        "<pre dir=\"auto\">./publish 2</pre>",
        "value=\"run\"",
        "value=\"skip\"",
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
    assert!(!form.contains("value=\"done\""), "only what the question offers");
    let fields = [("choice", "skip"), ("text", "not today")];
    let answer = browser.post(&format!("{path}/answer"), &fields).await;
    assert_eq!(target(&answer), path);
    let again = browser.post(&format!("{path}/answer"), &fields).await;
    assert!(text(again).await.contains("no_question"));
    assert_eq!(kinds(&t, &run).await, ["opened", "leased", "asked", "resumed"]);
    let told = &t.lease().await[0]["signals"][0];
    assert_eq!(
        json!([told["type"], told["choice"], told["text"], told["by"]]),
        json!(["answer", "skip", "not today", "a user"])
    );
    assert!(!browser.page("/admin/runs").await.contains("waits for a person"));
}

#[tokio::test]
async fn a_run_that_sleeps_is_woken_and_one_kept_from_runners_is_let_go_on() {
    let t = TestEdge::new().await;
    let (run, path) = at_work(&t).await;
    let browser = Browser::of(&t).await;
    let parked = json!([{"type": "parked", "until": UNTIL, "reason": "the limit is reached"}]);
    t.append(&run, 2, parked).await;
    assert!(t.lease().await.is_empty());
    assert!(browser.page(&path).await.contains("Wake it now"));
    browser.post(&format!("{path}/resume"), &[]).await;
    assert_eq!(t.lease().await[0]["run"], json!(run));

    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let torn = "/* all */ UPDATE runs SET due_at = 0, crashes = 9 WHERE workspace_id = ?1";
    scope.write(vec![scope.sql(torn, [])]).await.unwrap();
    t.runner("/tick", json!({})).await;
    assert!(t.lease().await.is_empty());
    let page = browser.page("/admin/runs").await;
    assert!(page.contains("Waits for somebody to look at it") && page.contains("A run waits for a person"));
    browser.post(&format!("{path}/resume"), &[]).await;
    assert_eq!(t.lease().await[0]["run"], json!(run));
    assert_eq!(
        kinds(&t, &run).await[2..],
        ["parked", "resumed", "leased", "poisoned", "resumed", "leased"]
    );
}
