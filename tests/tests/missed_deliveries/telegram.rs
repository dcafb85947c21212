//! Telegram delivers again by itself, as long as it knows where to.

use std::time::Duration;

use roost_edge::host::native::DatabaseAddress;
use roost_tests::{desk::Desk, office::SECRET};
use serde_json::{Value, json};

use super::{PAUSE, change, swept};
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
