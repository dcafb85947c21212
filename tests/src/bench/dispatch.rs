//! dispatch: from the first byte of a webhook to its run's request at the model, everything warm, one host.

use std::time::{Duration, Instant};

use roost_runner::{
    fixture::{Fixture, Order, Place},
    standin::model::{ModelServer, Script, Turn},
    tool::Tools,
};

use super::{
    load::{self, Outcome, Pace},
    machine, ms,
    subject::Subject,
    turn::crew,
};
use crate::office::SECRET;

const WARM_UP: usize = 50;
const EVENTS: usize = 500;

/// Runs it and prints the numbers.
///
/// # Panics
/// When a webhook is refused or its run never asks the model.
pub async fn run() {
    let subject = Subject::start().await;
    let model = ModelServer::start(Script::by(|_| Turn::say("Done.")))
        .await
        .expect("a model");
    let _crew = crew(&subject, &model, Tools::new());
    let mut latencies = Vec::new();
    for number in 1..=(WARM_UP + EVENTS) {
        let place = Place {
            number: u32::try_from(number).expect("small"),
            ..Place::default()
        };
        let order = Order {
            secret: SECRET,
            text: "@roost hello",
            id: number as u64,
            now: subject.office.edge.now(),
            place,
            ..Order::default()
        };
        let signed = Fixture::GithubIssueComment.make(&order);
        let request = load::post(
            &subject.address,
            "/hooks/main/github",
            &signed.headers,
            &signed.body,
        );
        let sent = Instant::now();
        let posting = load::run(&subject.address, vec![request], 1, Pace::Closed);
        let (_, asked) = tokio::join!(posting, async {
            tokio::time::timeout(Duration::from_secs(20), model.received(number))
                .await
                .expect("the model is asked");
            sent.elapsed()
        });
        if number > WARM_UP {
            latencies.push(asked);
        }
        // The next one finds the runner waiting again, not still completing this one.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    latencies.sort_unstable();
    let outcome = Outcome {
        took: Duration::ZERO,
        latencies,
    };
    println!(
        "dispatch · webhook sent → request at the model, idle, one host · {}",
        machine()
    );
    println!(
        "  p50 {}   p99 {}   over {EVENTS} webhooks",
        ms(outcome.percentile(0.5)),
        ms(outcome.percentile(0.99))
    );
}
