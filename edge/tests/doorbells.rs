//! Doorbells: a ring is a hint, but one that nobody heard is rung elsewhere, and one run's ring is no other's.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::TestEdge;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What answers where a runner said that it can be rung.
#[derive(Clone, Copy)]
enum Door {
    /// The runner.
    Opened,
    /// Somebody else, who has its port by now.
    Refused,
    /// Nobody: its machine stands still.
    Deaf,
}

/// A runner with room for so many runs that has polled, and what comes after it.
async fn polled(t: &TestEdge, name: &str, room: u32, door: Door, heard: &mpsc::UnboundedSender<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let doorbell = format!("http://{}/doorbell", listener.local_addr().unwrap());
    let (runner, heard) = (name.to_owned(), heard.clone());
    tokio::spawn(async move {
        let mut deaf = Vec::new();
        while let Ok((mut ringing, _)) = listener.accept().await {
            let status = match door {
                Door::Opened => "204 No Content",
                Door::Refused => "401 Unauthorized",
                Door::Deaf => {
                    deaf.push(ringing);
                    continue;
                }
            };
            let mut request = vec![0; 8 << 10];
            assert!(ringing.read(&mut request).await.unwrap() > 0);
            if matches!(door, Door::Opened) {
                heard.send(runner.clone()).unwrap();
            }
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            ringing.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let body = json!({"runner": name, "room": room, "wait_ms": 0, "doorbell": doorbell});
    let (status, body) = t.runner("/poll", body).await;
    assert_eq!((status, &body["leases"]), (StatusCode::OK, &json!([])));
}

async fn next(heard: &mut mpsc::UnboundedReceiver<String>) -> String {
    timeout(PATIENCE, heard.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn when_a_ring_is_not_heard_the_next_runner_is_rung() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let (hears, mut heard) = mpsc::unbounded_channel();
    polled(&t, "stands-still", 16, Door::Deaf, &hears).await;
    polled(&t, "dead", 8, Door::Refused, &hears).await;
    polled(&t, "alive", 4, Door::Opened, &hears).await;
    t.say("e1", "c1", "hello").await;
    assert_eq!(next(&mut heard).await, "alive");
}

#[tokio::test]
async fn as_many_runners_are_rung_as_the_runs_need() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    t.say("e2", "c2", "hello").await;
    let poll = "01J9ZD6M5N0000000000000001";
    let body = json!({"runner": "one", "room": 4, "wait_ms": 0, "poll": poll});
    let (_, body) = t.runner("/poll", body).await;
    assert_eq!(body["leases"].as_array().map(Vec::len), Some(2));
    let (hears, mut heard) = mpsc::unbounded_channel();
    for name in ["two", "three"] {
        polled(&t, name, 1, Door::Opened, &hears).await;
    }
    let (status, _) = t.runner(&format!("/polls/{poll}/withdraw"), Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let mut rung = [next(&mut heard).await, next(&mut heard).await];
    rung.sort();
    assert_eq!(rung, ["three", "two"]);
}
