//! GitHub delivers once: what it records as failed is fetched.

use std::{collections::BTreeSet, time::Duration};

use http::Method;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::standin::github::{DeliveryFault, HookOf};
use roost_tests::{
    RoostProcess,
    desk::Desk,
    office::{BOT, SECRET},
    served::{PUBLIC_URL, ServedDesk},
};
use serde_json::{Value, json};

use super::{PAUSE, change, comment, integration, next_report, runs, runs_become, swept};
const PRIVATE_KEY: &str = include_str!("../keys/app.pem");

/// The edge is a process, dead while GitHub delivers; another one sweeps.
#[tokio::test]
async fn an_outage_of_the_edge_swallows_nothing() {
    let served = ServedDesk::open().await;
    let desk = &served.desk;
    let settings =
        json!({"channel": "github", "api_url": desk.github.url(), "bot_login": BOT, "app_id": "4711"});
    let secrets = json!({"channel": "github", "webhook_secret": SECRET, "private_key": PRIVATE_KEY});
    change(desk, "github", settings.clone(), secrets).await;
    let mut edge = served.edge();
    let hook = format!("{}/hooks/main/github", edge.address().await);
    desk.github.set_hook(HookOf::App, &hook);
    for id in 1..4 {
        assert_eq!(desk.github.deliver(comment(desk, id)).await, 200);
    }
    // GitHub does not hear that this one arrived.
    desk.github.fail_deliveries(DeliveryFault::AnswerLost, 1);
    assert_eq!(desk.github.deliver(comment(desk, 4)).await, 504);
    assert_eq!(runs(desk).await, 4);
    edge.process().kill();
    // More than one page of GitHub's list.
    for id in 5..126 {
        assert_eq!(desk.github.deliver(comment(desk, id)).await, 502);
    }

    let report = swept(desk, "github").await;
    assert_eq!(
        (&report["brought_in"], &report["looked_at"], &report["warning"]),
        (&121.into(), &125.into(), &Value::Null),
        "{report}"
    );
    assert_eq!(runs(desk).await, 125);
    let (_, newest) = desk.api(Method::GET, "/deliveries?limit=1", Value::Null).await;
    let newest = newest["items"][0]["id"].as_str().unwrap().to_owned();
    let (_, newest) = desk
        .api(Method::GET, &format!("/deliveries/{newest}"), Value::Null)
        .await;
    assert!(newest["headers"]["roost-brought-in"].is_string(), "{newest}");

    // The second sweep finds nothing, and neither does a redelivery by hand make anything. Saving lets it be due at once:
    // GitHub would take no JWT of a clock that was put forward.
    change(desk, "github", settings, Value::Null).await;
    let report = swept(desk, "github").await;
    assert_eq!(
        (&report["brought_in"], &report["warning"]),
        (&0.into(), &Value::Null),
        "{report}"
    );
    desk.github
        .set_hook(HookOf::App, &format!("{}/hooks/main/github", desk.url));
    assert_eq!(desk.github.deliver(comment(desk, 5)).await, 200);
    assert_eq!(runs(desk).await, 125);
    let keys = "SELECT DISTINCT dedupe_key FROM deliveries WHERE workspace_id = ?1";
    let stored = desk.office.scope.query(keys, []).await.unwrap();
    let sent: BTreeSet<_> = desk
        .github
        .delivered()
        .into_iter()
        .map(|(guid, _)| guid)
        .collect();
    assert_eq!(stored.len(), sent.len());
}

#[tokio::test]
async fn a_repositorys_webhook_is_found_and_what_came_while_it_was_disabled_is_not_brought_in() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let hint = swept(&desk, "github").await;
    assert!(hint["hint"].as_str().unwrap().contains("repositories"), "{hint}");
    let of = HookOf::Repository("octo/hello".to_owned());
    desk.github.set_hook(of.clone(), "https://elsewhere.example/hook");
    let settings = json!({
        "channel": "github", "api_url": desk.github.url(), "bot_login": BOT, "repositories": ["octo/hello"],
    });
    change(&desk, "github", settings.clone(), Value::Null).await;
    let report = swept(&desk, "github").await;
    assert!(
        report["warning"]
            .as_str()
            .unwrap()
            .contains("no webhook of octo/hello"),
        "{report}"
    );
    let (_, notices) = desk.api(Method::GET, "/notices", Value::Null).await;
    let kinds: Vec<_> = notices["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["kind"])
        .collect();
    assert!(kinds.contains(&&json!("sweep_warns")), "{notices}");

    desk.github
        .set_hook(of, &format!("{}/hooks/main/github", desk.url));
    desk.github.fail_deliveries(DeliveryFault::Unreachable, 2);
    for id in [1, 2] {
        desk.github.deliver(comment(&desk, id)).await;
    }
    desk.pass(PAUSE);
    let report = swept(&desk, "github").await;
    assert_eq!(
        (&report["brought_in"], &report["warning"]),
        (&2.into(), &Value::Null),
        "{report}"
    );

    let id = integration(&desk, "github").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let disabled = json!({"name": "github", "settings": settings, "enabled": false});
    let path = format!("/integrations/{id}");
    desk.api(Method::PUT, &path, disabled).await;
    assert_eq!(desk.github.deliver(comment(&desk, 3)).await, 403);
    // GitHub writes down whole seconds.
    desk.pass(Duration::from_secs(2));
    change(&desk, "github", settings, Value::Null).await;
    assert_eq!(swept(&desk, "github").await["brought_in"], 0);
    assert_eq!(runs(&desk).await, 2);
}

/// An edge that began to sweep an organisation's webhook, which it finds by its own address, brought in two of six and waits for
/// GitHub's answer about the third; the desk has another edge on the same database.
struct HalfSwept {
    served: ServedDesk,
    edge: RoostProcess,
    settings: Value,
}

impl HalfSwept {
    async fn begin() -> Self {
        let served = ServedDesk::open().await;
        let desk = &served.desk;
        let mut edge = served.edge();
        let address = edge.address().await;
        // The way by which it is found is this edge's own.
        let of = HookOf::Organisation("octo".to_owned());
        desk.github
            .set_hook(of, &format!("{PUBLIC_URL}/hooks/main/github"));
        desk.github.fail_deliveries(DeliveryFault::Unreachable, 6);
        for id in 1..7 {
            desk.github.deliver(comment(desk, id)).await;
        }
        desk.github.show_deliveries(Some(2));
        let settings = json!({
            "channel": "github", "api_url": desk.github.url(), "bot_login": BOT, "repositories": ["octo"],
        });
        change(desk, "github", settings.clone(), Value::Null).await;
        let (status, answer) = desk.runner(&address, "/tick", &json!({})).await;
        assert!(status.is_success(), "{status} {answer}");
        runs_become(desk, 2).await;
        Self {
            served,
            edge,
            settings,
        }
    }
}

#[tokio::test]
async fn a_sweep_whose_edge_dies_is_taken_over() {
    let mut half = HalfSwept::begin().await;
    half.edge.process().kill();
    let desk = &half.served.desk;
    let of = HookOf::Organisation("octo".to_owned());
    desk.github
        .set_hook(of, &format!("{}/hooks/main/github", desk.url));
    desk.github.show_deliveries(None);
    desk.tick().await;
    assert_eq!(runs(desk).await, 2, "the dead edge's time is not over");
    desk.pass(PAUSE);
    let report = swept(desk, "github").await;
    assert_eq!(
        (&report["brought_in"], &report["warning"]),
        (&4.into(), &Value::Null),
        "{report}"
    );
    assert_eq!(runs(desk).await, 6);
}

/// Whoever saves the settings wants to see whether that helped: a sweep by those of before has no say any more, and brings in
/// nothing twice.
#[tokio::test]
async fn a_sweep_begins_anew_when_the_settings_are_saved() {
    let half = HalfSwept::begin().await;
    let desk = &half.served.desk;
    change(desk, "github", half.settings.clone(), Value::Null).await;
    let report = next_report(desk, "github", async || desk.github.show_deliveries(None)).await;
    assert_eq!(
        (&report["brought_in"], &report["looked_at"], &report["warning"]),
        (&0.into(), &6.into(), &Value::Null),
        "{report}"
    );
    assert_eq!(runs(desk).await, 6);
}
