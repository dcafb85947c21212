//! A runner's death is noticed when its connection closes, not when its leases run out.

#![allow(clippy::unwrap_used)]

mod common;

use common::TestEdge;
use http::StatusCode;
use roost_edge::host::native;
use serde_json::{Value, json};

/// One process of a runner, and the next one.
const PROCESSES: [&str; 2] = ["01J9ZD6M5N0000000000000001", "01J9ZD6M5N0000000000000002"];

/// An edge on a socket, with leases of the usual half minute, and one run that the runner `one` holds.
struct Watched {
    edge: TestEdge,
    url: String,
    run: Value,
}

impl Watched {
    async fn new() -> (Self, reqwest::Response) {
        let edge = TestEdge::new().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(native::serve(listener, edge.edge.clone(), std::future::pending()));
        edge.employ("ada").await;
        edge.say("e1", "c1", "hello").await;
        let mut watched = Self {
            edge,
            url,
            run: Value::Null,
        };
        let connection = watched.present(PROCESSES[0]).await;
        watched.run = watched.edge.poll("one", json!([])).await["leases"][0]["run"].clone();
        assert!(watched.run.is_string());
        (watched, connection)
    }

    /// Opens a presence of the runner `one`; it lasts as long as the response.
    async fn present(&self, process: &str) -> reqwest::Response {
        let asking = reqwest::Client::new()
            .post(format!("{}/runner/v1/presence", self.url))
            .bearer_auth(&self.edge.runner_token)
            .json(&json!({"runner": "one", "process": process}));
        let mut response = asking.send().await.unwrap();
        let first = response.chunk().await.unwrap().unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&first).unwrap(),
            json!({"watched": true})
        );
        response
    }

    /// The runs another runner gets within so many milliseconds.
    async fn others(&self, wait_ms: u64) -> Vec<Value> {
        let poll = json!({"runner": "two", "room": 4, "wait_ms": wait_ms});
        let (status, body) = self.edge.runner("/poll", poll).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let leases = body["leases"].as_array().unwrap();
        leases.iter().map(|lease| lease["run"].clone()).collect()
    }
}

#[tokio::test]
async fn a_closed_connection_ends_the_leases() {
    let (watched, connection) = Watched::new().await;
    let (given, ()) = tokio::join!(watched.others(20_000), async { drop(connection) });
    assert_eq!(given, [watched.run]);
}

#[tokio::test]
async fn a_runner_that_is_back_keeps_its_leases() {
    let (watched, connection) = Watched::new().await;
    let second = watched.present(PROCESSES[0]).await;
    drop(connection);
    assert_eq!(watched.others(600).await, [] as [Value; 0]);
    drop(second);
    assert_eq!(watched.others(20_000).await, [watched.run]);
}

#[tokio::test]
async fn the_next_process_of_a_name_frees_what_the_last_one_held() {
    let (watched, _connection) = Watched::new().await;
    let _next = watched.present(PROCESSES[1]).await;
    assert_eq!(watched.others(0).await, [watched.run]);
}
