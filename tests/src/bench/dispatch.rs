//! dispatch: from the first byte of a webhook to its run's request at the model, everything warm, one host; or to the
//! handler's first line, where a peer is measured. Alone, and while other events keep coming.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use roost_runner::fixture::{Fixture, Order, Place};
use roost_shared::UnixMillis;

use super::{
    load::{self, Answer, Connection, Outcome, Pace},
    machine, ms,
    peers::{
        arrivals::Arrivals,
        intake::{Intake, System},
        roost::Host,
    },
};
use crate::office::SECRET;

const WARM_UP: u64 = 50;
const EVENTS: u64 = 300;
/// Between an arrival and the next event: the next one finds the workers waiting again.
const REST: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);
const BACKGROUND_CONNECTIONS: usize = 16;
/// What is not handled so long after the last event counts as not handled in time.
const IN_TIME: Duration = Duration::from_secs(5);
/// How long other events come while latencies are taken.
const BACKGROUND_SPAN: Duration = Duration::from_secs(5);
/// Event numbers of the background begin here.
const BACKGROUND: u64 = 1_000_000;

/// Runs it and prints the numbers.
///
/// # Panics
/// When a webhook is refused or its run never asks the model.
pub async fn run() {
    let native = System::Roost(Host::Native);
    println!(
        "dispatch · webhook sent → request at the model, one host · {}",
        machine()
    );
    for others in [0, 1_000] {
        let measured = measure(native, others).await.expect("the native edge");
        println!(
            "  {others:>5} others a second: p50 {}   p99 {}   over {} webhooks; {:.1} % of the others handled",
            ms(measured.probes.percentile(0.5)),
            ms(measured.probes.percentile(0.99)),
            measured.probes.latencies.len(),
            measured.handled * 100.0
        );
    }
}

/// What came of events, and of others beside them.
pub(super) struct Measured {
    /// The time each event took to its handler.
    pub(super) probes: Outcome,
    /// The share of the others that was handled in time, 0 to 1.
    pub(super) handled: f64,
}

/// Sends one event after the other, while `others` come every second, which are handled too.
pub(super) async fn measure(system: System, others: u32) -> Result<Measured, String> {
    let arrivals = Arrivals::start().await;
    let intake = system.start(Some(&arrivals)).await?;
    let mut connection = Connection::open(intake.address()).await;
    let probe = async |latencies: &mut Vec<Duration>, connection: &mut Connection, number| {
        let request = event(intake.as_ref(), number);
        let sent = Instant::now();
        if connection.exchange(&request).await == Answer::TooBusy {
            return Err("the server was too busy for one event".to_owned());
        }
        let arrived = tokio::time::timeout(PATIENCE, arrivals.of(number));
        let arrived = arrived
            .await
            .map_err(|_| format!("event {number} never arrived"))?;
        latencies.push(arrived - sent);
        tokio::time::sleep(REST).await;
        Ok(())
    };
    let mut latencies = Vec::new();
    for number in 1..=WARM_UP {
        probe(&mut latencies, &mut connection, number).await?;
    }
    latencies.clear();
    let background = background(intake.as_ref(), others);
    let began = Instant::now();
    for number in WARM_UP + 1..=WARM_UP + EVENTS {
        if others > 0 && began.elapsed() > BACKGROUND_SPAN {
            break;
        }
        probe(&mut latencies, &mut connection, number).await?;
    }
    let took = began.elapsed();
    let mut handled = 1.0;
    if let Some(background) = background {
        let sent = background
            .await
            .map_err(|_| "the background ended early".to_owned())?;
        let sent = BACKGROUND..BACKGROUND + sent.latencies.len() as u64;
        handled = arrivals.share_of(sent, IN_TIME).await;
    }
    latencies.sort_unstable();
    let probes = Outcome {
        took,
        latencies,
        refused: 0,
    };
    Ok(Measured { probes, handled })
}

/// Others that come beside those that are measured.
fn background(intake: &dyn Intake, others: u32) -> Option<tokio::task::JoinHandle<Outcome>> {
    if others == 0 {
        return None;
    }
    let count = u64::from(others) * BACKGROUND_SPAN.as_secs();
    let numbers: Range<u64> = BACKGROUND..BACKGROUND + count;
    let requests: Vec<Vec<u8>> = numbers.map(|number| event(intake, number)).collect();
    let address = intake.address().to_owned();
    Some(tokio::spawn(async move {
        let pace = Pace::PerSecond(others);
        load::run(&address, requests, BACKGROUND_CONNECTIONS, pace).await
    }))
}

/// A comment with its number in it, in a conversation of its own.
fn event(intake: &dyn Intake, number: u64) -> Vec<u8> {
    let place = Place {
        number: u32::try_from(number).expect("small"),
        ..Place::default()
    };
    let text = format!("@roost hello, this is event-{number} of many");
    intake.request(&Fixture::GithubIssueComment.make(&Order {
        secret: SECRET,
        text: &text,
        id: number,
        now: UnixMillis(1_763_690_000_000),
        place,
        ..Order::default()
    }))
}
