//! What a channel could not deliver is brought in afterwards, once: the channel is at the beginning of every test here.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use http::Method;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::{
    fixture::{Fixture, Order, Place, Signed},
    standin::github::{DeliveryFault, HookOf},
};
use roost_tests::{
    RoostProcess,
    desk::Desk,
    office::{BOT, SECRET},
    process::PATIENCE,
    served::{PUBLIC_URL, ServedDesk},
};
use serde_json::{Value, json};

const PRIVATE_KEY: &str = include_str!("keys/app.pem");
/// More than the pause between two sweeps.
const PAUSE: Duration = Duration::from_secs(5 * 60 + 1);

fn comment(desk: &Desk, id: u32) -> Signed {
    Fixture::GithubIssueComment.make(&Order {
        secret: SECRET,
        text: "@roost hello",
        id: id.into(),
        now: desk.office.edge.now(),
        place: Place {
            number: id,
            installation: Some(77),
            ..Place::default()
        },
        ..Order::default()
    })
}

async fn integration(desk: &Desk, name: &str) -> Value {
    let (_, all) = desk.api(Method::GET, "/integrations", Value::Null).await;
    let items = all["items"].as_array().unwrap();
    items.iter().find(|one| one["name"] == name).unwrap().clone()
}

/// Gives the integration other settings, and secrets where they are not null.
async fn change(desk: &Desk, name: &str, settings: Value, secrets: Value) {
    let id = integration(desk, name).await["id"].as_str().unwrap().to_owned();
    let mut draft = json!({"name": name, "settings": settings});
    if !secrets.is_null() {
        draft["secrets"] = secrets;
    }
    let (status, answer) = desk.api(Method::PUT, &format!("/integrations/{id}"), draft).await;
    assert!(status.is_success(), "{answer}");
}

/// Ticks, and gives what comes of the integration's sweep.
async fn swept(desk: &Desk, name: &str) -> Value {
    next_report(desk, name, async || desk.tick().await).await
}

/// Does it, and gives what the sweep after that comes to.
async fn next_report(desk: &Desk, name: &str, done: impl AsyncFnOnce()) -> Value {
    let before = integration(desk, name).await["sweep"]["at"].clone();
    done().await;
    let waiting = async {
        loop {
            let report = integration(desk, name).await["sweep"].clone();
            if report["at"] != before && !report["at"].is_null() {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

async fn runs(desk: &Desk) -> i64 {
    let all = "SELECT count(*) FROM runs WHERE workspace_id = ?1";
    desk.office.count(all).await
}

async fn runs_become(desk: &Desk, number: i64) {
    let waiting = async {
        while runs(desk).await < number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{} runs; {}", runs(desk).await, integration(desk, "github").await);
    }
}

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

#[tokio::test]
async fn telegrams_webhook_is_watched_and_set_again_where_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let report = swept(&desk, "telegram").await;
    assert!(
        report["warning"].as_str().unwrap().contains("nowhere"),
        "{report}"
    );
    assert_eq!(desk.telegram.webhook(), None);
    let settings = json!({
        "channel": "telegram", "api_url": desk.telegram.url(), "bot_username": "roost_test_bot", "keep_webhook": true,
    });
    change(&desk, "telegram", settings, Value::Null).await;
    let report = swept(&desk, "telegram").await;
    let ours = format!("{}/hooks/main/telegram", desk.url);
    assert_eq!(desk.telegram.webhook().unwrap()["url"], ours, "{report}");
    assert_eq!(desk.telegram.webhook().unwrap()["secret_token"], SECRET);

    // An outage: Telegram keeps the updates and says so, and delivers them by itself afterwards.
    desk.telegram.set_pending(3, "Connection refused");
    desk.pass(PAUSE);
    let report = swept(&desk, "telegram").await;
    assert_eq!(report["pending"], 3);
    assert!(
        report["warning"].as_str().unwrap().contains("Connection refused"),
        "{report}"
    );
    // Somebody else takes the bot: once it is taken back, then a person is told.
    desk.pass(Duration::from_secs(3700));
    let theirs = "https://elsewhere.example/hook";
    desk.telegram.take_webhook(theirs);
    swept(&desk, "telegram").await;
    assert_eq!(desk.telegram.webhook().unwrap()["url"], ours);
    desk.telegram.take_webhook(theirs);
    desk.pass(PAUSE);
    let report = swept(&desk, "telegram").await;
    assert!(
        report["warning"].as_str().unwrap().contains("who else"),
        "{report}"
    );
    assert_eq!(desk.telegram.webhook().unwrap()["url"], theirs);
}

#[tokio::test]
async fn what_nobody_listened_for_is_heard_when_it_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let (_, subscriptions) = desk.api(Method::GET, "/subscriptions", Value::Null).await;
    let subscriptions = subscriptions["items"].as_array().unwrap().clone();
    for one in &subscriptions {
        let path = format!("/subscriptions/{}", one["id"].as_str().unwrap());
        desk.api(Method::DELETE, &path, Value::Null).await;
    }
    let mut deliveries = Vec::new();
    for number in 1..6 {
        let (_, answer) = desk.say(&desk.url, Fixture::GithubIssueComment, number).await;
        assert_eq!(answer["verdict"], "ignored", "{answer}");
        deliveries.push(answer["delivery"].as_str().unwrap().to_owned());
    }
    for one in &subscriptions {
        let draft = json!({"agent": one["agent"], "integration": one["integration"], "rule": one["rule"]});
        desk.api(Method::POST, "/subscriptions", draft).await;
    }
    // One, asked for twice at once: it begins one run.
    let path = format!("/deliveries/{}/replay", deliveries[0]);
    let (first, second) = tokio::join!(
        desk.api(Method::POST, &path, Value::Null),
        desk.api(Method::POST, &path, Value::Null)
    );
    let begun = [&first.1, &second.1].map(|answer| answer["runs"].as_array().unwrap().len());
    assert_eq!(begun.iter().sum::<usize>(), 1, "{first:?} {second:?}");
    assert_eq!(runs(&desk).await, 1);
    let shown = format!("/deliveries/{}", deliveries[0]);
    let (_, shown) = desk.api(Method::GET, &shown, Value::Null).await;
    assert_eq!(
        (&shown["verdict"], shown["runs"].as_array().unwrap().len()),
        (&"accepted".into(), 1)
    );
    assert_ne!(shown["acknowledgement"], Value::Null, "{shown}");
    let (_, again) = desk.api(Method::POST, &path, Value::Null).await;
    assert_eq!(again["runs"], json!([]));
    assert!(
        again["reason"].as_str().unwrap().contains("has had it"),
        "{again}"
    );

    // The admin offers it, too; then all the rest.
    let page = desk
        .admin(Method::GET, &format!("/admin/deliveries/{}", deliveries[1]), "")
        .await;
    assert!(page.contains("Replay"), "{page}");
    desk.admin(
        Method::POST,
        &format!("/admin/deliveries/{}/replay", deliveries[1]),
        "",
    )
    .await;
    assert_eq!(runs(&desk).await, 2);
    let (_, rest) = desk
        .api(Method::POST, "/deliveries/replay", json!({"from": 0}))
        .await;
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next"]),
        (3, &Value::Null),
        "{rest}"
    );
    assert_eq!(runs(&desk).await, 5);
    let done = desk.reply(&desk.url, "The answer is 42.").await;
    assert_eq!(done.len(), 5);
    for run in done {
        desk.until(run, "sent").await;
    }
}
