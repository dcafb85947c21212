//! The admin's pages, each from its producer: a webhook that was delivered, a run that a runner drove, a form that was
//! sent.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use common::{
    Hands, Messages, TestEdge,
    browser::{Browser, target, text},
    real_now, work,
};
use http::{Request, StatusCode, header};
use roost_edge::{auth::token::Audience, edge::DEFAULT_WORKSPACE};
use serde_json::json;
use tower::ServiceExt;

const EVIL: &str = "<script>alert(1)</script>\r\n\r\nid: 99\r\rdata: <img src=x onerror=alert(2)>";

#[tokio::test]
async fn a_link_with_a_code_signs_in_once_and_leads_to_the_page_asked_for() {
    let t = TestEdge::new().await;
    let router = t.edge.router();
    let ask = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let asked = router
        .clone()
        .oneshot(ask("/admin/runs?phase=failed"))
        .await
        .unwrap();
    assert_eq!(
        target(&asked),
        "/admin/login?next=%2Fadmin%2Fruns%3Fphase%3Dfailed"
    );
    assert_eq!(
        target(&router.clone().oneshot(ask("/")).await.unwrap()),
        "/admin/runs"
    );

    let code = t.token(Audience::Login, DEFAULT_WORKSPACE);
    for _ in 0..2 {
        let page = router
            .clone()
            .oneshot(ask(&format!("/admin/login?code={code}")))
            .await
            .unwrap();
        assert!(
            page.headers().get(header::SET_COOKIE).is_none(),
            "looking at the link uses nothing up"
        );
        assert!(text(page).await.contains(&code));
    }
    let nobody = Browser {
        cookie: String::new(),
        t: &t,
    };
    let fields = [("code", code.as_str()), ("next", "/admin/runs?phase=failed")];
    let signed_in = nobody.post("/admin/login", &fields).await;
    assert_eq!(target(&signed_in), "/admin/runs?phase=failed");
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap();
    let browser = Browser {
        cookie: cookie.split(';').next().unwrap().to_owned(),
        t: &t,
    };
    assert!(browser.page("/admin/runs").await.contains("a user"));

    let again = nobody.post("/admin/login", &fields).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    let again = text(again).await;
    assert!(
        again.contains("has been used before") && !again.contains(&code),
        "{again}"
    );

    assert_eq!(target(&browser.post("/admin/logout", &[]).await), "/admin/login");
    assert!(target(&browser.get("/admin/runs").await).starts_with("/admin/login"));
}

#[tokio::test]
async fn an_empty_workspace_says_what_to_do_next() {
    let t = TestEdge::new().await;
    let browser = Browser::of(&t).await;
    for (path, hint) in [
        ("/admin/runs", "Create an agent"),
        ("/admin/deliveries", "Connect a channel"),
        ("/admin/effects", "see the runs"),
        ("/admin/agents", "Create an agent"),
        ("/admin/integrations", "/admin/integrations/new/github"),
        ("/admin/runners", "Make a token"),
    ] {
        assert!(browser.page(path).await.contains(hint), "{path}");
    }
    t.employ("ada").await;
    t.poll("one", json!([])).await;
    let page = browser.page("/admin/runs").await;
    assert_eq!(page.matches("aria-label=\"done\"").count(), 4, "{page}");
    assert!(page.contains("@ada hello"));
}

#[tokio::test]
async fn runs_that_wait_while_no_runner_is_there_are_told_of() {
    let hands = Arc::new(Hands(AtomicI64::new(real_now())));
    let t = TestEdge::on_clock(hands.clone(), |_| {}).await;
    t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    let told = async || {
        let page = Browser::of(&t).await.page("/admin/runs").await;
        page.contains("waits for a runner, and none is there")
    };
    assert!(!told().await, "one may be about to take it");
    hands.0.fetch_add(61_000, Ordering::SeqCst);
    assert!(told().await);
    t.poll("one", json!([])).await;
    assert!(!told().await);
    hands.0.fetch_add(120_000, Ordering::SeqCst);
    assert!(told().await, "its runner is gone");
}

#[tokio::test]
async fn a_run_reads_from_what_was_said_to_what_was_sent() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let run = t.completed("e1").await;
    let browser = Browser::of(&t).await;

    let list = browser.page("/admin/runs").await;
    for part in ["please look", "completed", "$0.0002", &run] {
        assert!(list.contains(part), "{part}");
    }
    assert!(!browser.page("/admin/runs?phase=failed").await.contains(&run));

    let page = browser.page(&format!("/admin/runs/{run}")).await;
    for part in [
        "please look",
        "outsider",
        "Runner <bdi>one</bdi>",
        "107 tokens read (7 cached), 20 written",
        "<strong class=\"tool\"><bdi>bash</bdi></strong>",
        ">ls<",
        "a\nb</pre>",
        "replied",
        "What was sent",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("Cancel the run"), "it has ended");
    let delivery = page.split("/admin/deliveries/").nth(1).unwrap();
    let delivery = browser
        .page(&format!("/admin/deliveries/{}", &delivery[..26]))
        .await;
    assert!(delivery.contains("x-signature") && delivery.contains(&run));
    let list = browser.page("/admin/deliveries?verdict=accepted").await;
    assert!(list.contains(&run));
    let runners = browser.page("/admin/runners").await;
    assert!(runners.contains("present") && runners.contains("0 runs"));
}

#[tokio::test]
async fn a_page_grows_with_the_run_and_survives_a_cut() {
    // Only the bell can wake the stream in time; the reply's state is polled.
    let t = TestEdge::with(|settings| settings.look_again = Duration::from_millis(200)).await;
    t.employ("ada").await;
    let (_, received) = t.say("e1", "c1", EVIL).await;
    let run = received["runs"][0].as_str().unwrap().to_owned();
    t.lease().await;
    let browser = Browser::of(&t).await;
    let page = browser.page(&format!("/admin/runs/{run}")).await;
    let live = format!("/admin/runs/{run}/live?from=2");
    assert!(page.contains(&format!("data-live=\"{live}\"")) && page.contains("Cancel the run"));

    let mut first = Messages::of(browser.get(&live).await);
    let [answer, tool, end] = work();
    t.append(&run, 2, answer).await;
    let asked = first.next().await.unwrap();
    assert_eq!(asked.id, Some(2));
    for part in [
        "id=\"e2\"",
        "id=\"e2-0\"",
        "state waiting",
        "id=\"summary\"",
        "is thinking",
    ] {
        assert!(asked.data.contains(part), "{part}: {}", asked.data);
    }
    drop(first);

    t.append(&run, 3, tool).await;
    let mut request = Request::get(&live).header(header::COOKIE, &browser.cookie);
    request = request.header("last-event-id", "2");
    let mut second = Messages::of(browser.send(request.body(Body::empty()).unwrap()).await);
    let started = second.next().await.unwrap();
    assert!(
        started.id == Some(3) && started.data.contains("id=\"e2-0\"") && started.data.contains("running")
    );
    let finished = second.next().await.unwrap();
    assert!(
        finished.id == Some(4)
            && finished.data.contains("id=\"e2-0\"")
            && finished.data.contains("a\nb</pre>")
    );
    t.append(&run, 5, end).await;
    let over = second.next().await.unwrap();
    assert!(over.id == Some(5) && over.data.contains("<div id=\"actions\"></div>"));
    let mut rest = Vec::new();
    while let Some(message) = second.next().await {
        assert_eq!(message.id, None, "no event follows");
        rest.push(message);
    }
    assert!(rest[0].data.contains("id=\"effects\""));
    assert_eq!(rest.last().unwrap().event.as_deref(), Some("end"));
}

#[tokio::test]
async fn text_from_outside_is_never_markup() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let (_, received) = t.say("e1", EVIL, EVIL).await;
    let run = received["runs"][0].as_str().unwrap().to_owned();
    t.lease().await;
    let block = json!({"type": "text", "text": EVIL});
    let thinking = json!({"type": "thinking", "text": EVIL});
    let call = json!({"type": "tool_call", "id": "t1", "name": EVIL, "input": {EVIL: EVIL, "command": EVIL}});
    let usage = json!({"input": 1, "output": 1, "cache_read": 0, "cache_write": 0});
    let events = json!([
        {"type": "session_opened", "purpose": EVIL, "sprite": EVIL, "session": EVIL},
        {"type": "model_answered", "model": EVIL, "blocks": [thinking, block, call], "stop": "tool_use",
         "usage": usage, "cost": 1, "first_byte_ms": 1, "took_ms": 1},
        {"type": "tool_finished", "call": "t1", "text": EVIL, "took_ms": 1},
        {"type": "model_failed", "code": EVIL, "message": EVIL},
        {"type": "compacted", "summary": EVIL, "usage": usage, "cost": 1},
        {"type": "failed", "code": EVIL, "message": EVIL},
    ]);
    t.append(&run, 2, events).await;
    let browser = Browser::of(&t).await;
    let page = browser.page(&format!("/admin/runs/{run}")).await;
    let delivery = page.split("/admin/deliveries/").nth(1).unwrap()[..26].to_owned();
    let mut live = Messages::of(browser.get(&format!("/admin/runs/{run}/live?from=0")).await);
    let mut streamed = String::new();
    let mut ids = Vec::new();
    while let Some(message) = live.next().await {
        ids.extend(message.id);
        streamed.push_str(&message.data);
    }
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7], "no text made a message of its own");
    for (name, page) in [
        ("run", page),
        ("live", streamed),
        ("runs", browser.page("/admin/runs").await),
        (
            "delivery",
            browser.page(&format!("/admin/deliveries/{delivery}")).await,
        ),
        ("deliveries", browser.page("/admin/deliveries").await),
    ] {
        assert!(!page.contains("<script>") && !page.contains("<img"), "{name}");
        let shown = page.contains("&lt;script&gt;alert(1)");
        assert!(shown || name == "deliveries", "{name}: {page}");
    }
}

#[tokio::test]
async fn a_waiting_run_is_cancelled_by_its_button_and_only_by_it() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let (_, received) = t.say("e1", "c1", "hello").await;
    let path = format!("/admin/runs/{}", received["runs"][0].as_str().unwrap());
    let cancel = format!("{path}/cancel");
    let browser = Browser::of(&t).await;
    let elsewhere = browser.send(browser.form(&cancel, &[], "cross-site")).await;
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    assert!(text(elsewhere).await.contains("cross_site"));
    assert!(browser.page(&path).await.contains("Waits for a runner"));
    assert_eq!(target(&browser.post(&cancel, &[]).await), path);
    assert!(browser.page(&path).await.contains("Stopped by <bdi>a user</bdi>"));
}

#[tokio::test]
async fn every_answer_is_guarded_and_files_are_kept_by_the_browser() {
    let t = TestEdge::new().await;
    let browser = Browser::of(&t).await;
    for path in [
        "/admin/runs",
        "/admin/login",
        "/admin/nothing",
        "/admin/runs/none",
    ] {
        let response = browser.get(path).await;
        let headers = response.headers();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    }
    let missing = browser.get("/admin/runs/none").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(text(missing).await.contains("There is nothing here"));

    let page = browser.page("/admin/runs").await;
    let inline = ["style=\"", "onclick", "<style", "<script>"];
    assert!(inline.iter().all(|part| !page.contains(part)));
    for name in ["admin.css", "admin.js", "icon.svg"] {
        let url = page
            .split('"')
            .find(|part| part.starts_with(&format!("/admin/assets/{name}?v=")))
            .unwrap();
        let file = browser.get(url).await;
        assert!(
            file.headers()[header::CACHE_CONTROL]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
        let tag = file.headers()[header::ETAG].clone();
        let request = Request::get(url).header(header::IF_NONE_MATCH, tag);
        let known = browser.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    }
}
