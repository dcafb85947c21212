//! What a person has replayed.

use http::Method;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::fixture::Fixture;
use roost_tests::desk::Desk;
use serde_json::{Value, json};

use super::runs;
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
