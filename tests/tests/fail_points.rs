//! A process dies at every fail point once, and falls asleep at every one, with work under way: nothing is lost, nothing is doubled, and no point is there
//! that nobody reaches.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use roost_runner::chaos::{Chaos, Death, walk};
use roost_tests::{chaos, roost_binary};

async fn walks(death: Death) {
    let program = roost_binary().with_file_name("roost-fail-points");
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build -p roost-runner --features fail-points --bin roost-fail-points`",
        program.display()
    );
    let directory = tempfile::tempdir().unwrap();
    let plan = Chaos {
        isolation: chaos::walls(directory.path()).await.unwrap(),
        program,
        directory: directory.path().to_owned(),
        database: None,
        kills: 0,
        seed: 1,
        pace: Duration::ZERO,
        webhooks_per_second: 3.0,
        lease: Duration::from_secs(1),
        send_within: Duration::from_secs(2),
    };
    let walked = walk(&plan, death).await.unwrap();
    let report = walked.report;
    assert!(
        walked.never_reached.is_empty(),
        "nobody gets to {:?}",
        walked.never_reached
    );
    assert_eq!(
        (report.lost, report.doubled, report.torn),
        (0, 0, 0),
        "{}",
        report.table()
    );
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_wherever_a_process_dies() {
    walks(Death::Crash).await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_wherever_a_process_falls_asleep_and_wakes_too_late() {
    walks(Death::Sleep).await;
}
