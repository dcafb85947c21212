//! A short chaos on both databases: nothing is lost, nothing is doubled. `cargo xtask chaos` does it at length.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use roost_tests::chaos::{self, Weather};

fn weather(seed: u64) -> Weather {
    Weather {
        kills: 8,
        seed,
        pace: Duration::from_millis(600),
        webhooks_per_second: 3.0,
    }
}

#[tokio::test]
async fn on_the_file_of_an_edge() {
    let report = chaos::one(None, weather(3), |_| {}).await.unwrap();
    assert!(report.is_kept(), "{}", report.table());
    assert!(
        report.kills == 8 && report.counts.accepted > 5,
        "{}",
        report.table()
    );
}

#[tokio::test]
async fn on_a_database_server_with_two_edges() {
    let report = chaos::one(Some(chaos::server()), weather(4), |_| {})
        .await
        .unwrap();
    assert!(report.is_kept(), "{}", report.table());
    assert!(
        report.kills == 8 && report.counts.accepted > 5,
        "{}",
        report.table()
    );
}
