//! ack: 8 KB GitHub events over 64 connections, each answered only when it is durable. After the load the edge is
//! killed, and what its database holds is counted: a number counts only if every answered event is there.

use roost_runner::fixture::{Fixture, Order, Place};

use super::{
    load::{self, Outcome, Pace},
    machine, ms, process,
    subject::Subject,
};
use crate::office::SECRET;

const CONNECTIONS: usize = 64;
const WARM_UP: u64 = 2_000;
const EVENTS: u64 = 40_000;
/// The text of the comment, so that the whole body has about 8 KB.
const TEXT: usize = 700;

/// Runs it and prints the numbers.
///
/// # Panics
/// When an event is refused or lost.
pub async fn run() {
    let mut subject = Subject::start().await;
    let half = EVENTS / 2;
    let requests = requests(&subject, WARM_UP + EVENTS + half);
    let size = requests[0].len();
    let (warm, rest) = requests.split_at(usize::try_from(WARM_UP).expect("small"));
    let (full, half_load) = rest.split_at(usize::try_from(EVENTS).expect("small"));
    load::run(&subject.address, warm.to_vec(), CONNECTIONS, Pace::Closed).await;
    let peak = load::run(&subject.address, full.to_vec(), CONNECTIONS, Pace::Closed).await;
    let rate = peak.rate() / 2.0;
    let calm = load::run(
        &subject.address,
        half_load.to_vec(),
        CONNECTIONS,
        Pace::PerSecond(rate as u32),
    )
    .await;
    let resident = process::memory(&[subject.process_id()]) >> 20;
    let stored = subject
        .kill_and_count("SELECT count(*) FROM deliveries WHERE workspace_id = ?1 AND verdict = 'accepted'")
        .await;
    let sent = i64::try_from(requests.len()).expect("small");
    println!(
        "ack · {size}-byte GitHub events, {CONNECTIONS} connections · {}",
        machine()
    );
    show("as fast as it goes", &peak);
    show("at half of that", &calm);
    let refused = peak.refused + calm.refused;
    println!("  sent again after 503 {refused}");
    println!("  edge memory          {resident} MiB");
    println!("  after kill -9        {stored} of {sent} answered events are stored");
    assert_eq!(stored, sent, "an answered event was lost");
}

fn show(label: &str, outcome: &Outcome) {
    println!(
        "  {label:<20} {:>8.0}/s   p50 {:>9}   p99 {:>9}   max {:>9}",
        outcome.rate(),
        ms(outcome.percentile(0.5)),
        ms(outcome.percentile(0.99)),
        ms(outcome.percentile(1.0)),
    );
}

fn requests(subject: &Subject, count: u64) -> Vec<Vec<u8>> {
    let text = format!("@roost {}", "lorem ipsum ".repeat(TEXT / 12));
    (1..=count)
        .map(|id| {
            let place = Place {
                // Each in a conversation of its own: it starts a run, and does not join one.
                number: u32::try_from(id).expect("small"),
                ..Place::default()
            };
            let now = subject.office.edge.now();
            // Ids far apart, as a provider's are: neighbours would fall on one page of the index.
            let id = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16 | 1;
            let order = Order {
                secret: SECRET,
                text: &text,
                id,
                now,
                place,
                ..Order::default()
            };
            let signed = Fixture::GithubIssueComment.make(&order);
            load::post(
                &subject.address,
                "/hooks/main/github",
                &signed.headers,
                &signed.body,
            )
        })
        .collect()
}
