//! Payloads of old deliveries are removed, from the webhook that brought them; what keeps promises stays.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::body::Body;
use common::{As, Hands, TestEdge, real_now};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use roost_edge::{auth::token::Audience, edge::DEFAULT_WORKSPACE};
use serde_json::{Value, json};
use tower::ServiceExt;

const DAY: i64 = 86_400_000;

#[tokio::test]
async fn an_old_payload_is_removed_when_no_run_needs_it_and_its_event_stays_known() {
    let hands = Arc::new(Hands(AtomicI64::new(real_now())));
    let t = TestEdge::on_clock(hands.clone(), |settings| {
        settings.keep_payloads_days = NonZeroU32::new(30);
    })
    .await;
    t.employ("ada").await;
    let ended = t.completed("ended").await;
    let (_, received) = t.say("open", "another", "please wait").await;
    let open = received["runs"][0].as_str().unwrap().to_owned();
    let delivery = async |run: &str| {
        let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
        let get = async |path: String| t.api(As::Token(&token), "GET", &path, Value::Null).await.1;
        let run = get(format!("/runs/{run}")).await;
        get(format!(
            "/deliveries/{}",
            run["asked"]["delivery"].as_str().unwrap()
        ))
        .await
    };
    t.edge.tick().await.unwrap();
    let before = delivery(&ended).await;
    assert!(
        before["body"]["text"].as_str().unwrap().contains("please look"),
        "{before}"
    );

    // More of them than one tick looks at, all after the one whose run is open.
    for number in 0..300 {
        t.say(&format!("many{number}"), "another", "more").await;
    }
    let cancel = async |run: &str| {
        let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
        let path = format!("/runs/{run}/cancel");
        let (_, said) = t.api(As::Token(&token), "POST", &path, json!({})).await;
        assert_eq!(said["status"], "cancelled", "{said}");
    };
    let (_, received) = t.say("last", "a third", "never mind").await;
    let last = received["runs"][0].as_str().unwrap().to_owned();
    cancel(&last).await;
    hands.0.fetch_add(31 * DAY, Ordering::Relaxed);
    for _ in 0..3 {
        t.edge.tick().await.unwrap();
    }
    let with_payload = async || {
        let scope = t.edge.scope(DEFAULT_WORKSPACE);
        let sql =
            "/* all */ SELECT count(*) FROM deliveries WHERE workspace_id = ?1 AND removed_after IS NULL";
        scope.query(sql, []).await.unwrap()[0].integer(0).unwrap()
    };
    // The open run's own, and those that joined it.
    assert_eq!(with_payload().await, 301);
    assert_eq!(delivery(&last).await["body"], json!({ "removed_after_days": 30 }));
    let after = delivery(&ended).await;
    assert_eq!(
        (&after["body"], &after["headers"]),
        (&json!({ "removed_after_days": 30 }), &json!({}))
    );
    for kept in [
        "id",
        "verdict",
        "event",
        "dedupe_key",
        "bytes",
        "runs",
        "received_at",
    ] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(delivery(&open).await["headers"]["x-id"], "open");
    let (status, again) = t.say("ended", "ended", "please look").await;
    assert_eq!(
        (status, &again["runs"]),
        (StatusCode::OK, &Value::Null),
        "{again}"
    );

    let id = after["id"].as_str().unwrap();
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let replay = format!("/deliveries/{id}/replay");
    let (status, said) = t.api(As::Token(&token), "POST", &replay, json!({})).await;
    assert_eq!(
        (status, &said["error"]["code"]),
        (StatusCode::GONE, &json!("payload_removed"))
    );
    let cookie = t.sign_in().await;
    let page = Request::get(format!("/admin/deliveries/{id}")).header("cookie", cookie);
    let page = t
        .edge
        .router()
        .oneshot(page.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let page = page.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&page).contains("The payload was removed after 30 days"));

    // What was passed over is looked at again once its run has ended.
    cancel(&open).await;
    hands.0.fetch_add(DAY / 24, Ordering::Relaxed);
    for _ in 0..3 {
        t.edge.tick().await.unwrap();
    }
    assert_eq!(delivery(&open).await["body"], json!({ "removed_after_days": 30 }));
    // Those that had joined it wait for a run of their own now.
    assert_eq!(with_payload().await, 300);
}
