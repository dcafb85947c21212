//! The row `ack`: how fast signed webhooks are answered, each only when it is durable.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roost_runner::fixture::{Fixture, Order, Place, Signed};
use roost_shared::UnixMillis;

use super::{
    attempt::{Contender, Effort, compare},
    intake::System,
    report::{Kind, Row, Sample},
    roost::Host,
};
use crate::{
    bench::{
        load::{self, Outcome, Pace},
        process,
    },
    office::SECRET,
};

const CONNECTIONS: usize = 64;
const WARM_UP: usize = 1_000;
/// The most events of one repetition; a slow system gets fewer, by time.
const EVENTS: usize = 36_000;
const SPAN: Duration = Duration::from_millis(2_500);
const EFFORT: Effort = Effort {
    times: 5,
    each: Duration::from_secs(45),
    all: Duration::from_secs(330),
};
/// The text of the comment, so that the whole body has about 8 KB.
const TEXT: usize = 700;

const RATE: Kind = Kind::more("answered/s");
const P50: Kind = Kind::less("p50 ms");
const P99: Kind = Kind::less("p99 ms");
const HALF_P99: Kind = Kind::less("p99 ms at half of that rate");
const REFUSED: Kind = Kind::less("503s, sent again");
const MEMORY: Kind = Kind::less("memory MiB");

pub(super) async fn row() -> Row {
    let events: Arc<[Signed]> = events().into();
    let systems = [
        System::Roost(Host::Native),
        System::Roost(Host::Workerd),
        System::Roost(Host::Wasmtime),
        System::Restate,
        System::BullMq,
        System::Graphile,
    ];
    let contenders = systems.map(|system| {
        let events = Arc::clone(&events);
        Contender::new(system.name(), move || once(system, Arc::clone(&events)))
    });
    let entries = compare(contenders.into(), EFFORT).await;
    Row {
        name: "ack",
        question: "GitHub events of 9 KB, signed, over 64 connections: how many are answered a second, each only when it is durable? \
                   After the load everything is killed with -9 and started again, and what is there is counted: a number stands \
                   here only if no answered event is missing.",
        entries,
        notes: &[
            "Roost verifies, normalises and deduplicates, starts a run, and sends an acknowledgement to the channel while the load goes \
             on; the peers store the body. The Node peers verify the same signature; Restate verifies none, and its service, a \
             no-op, takes each event during the load.",
            "What is synced: Roost native and Restate their log before the answer, in groups; Redis its append-only file; PostgreSQL \
             its WAL. Killing a process does not lose what the kernel has; the systems are trusted with what they say of sync.",
            "Memory is that of all processes of the system (shared pages counted once), after the load.",
        ],
        picture: None,
    }
}

async fn once(system: System, events: Arc<[Signed]>) -> Result<Sample, String> {
    let mut intake = system.start(None).await?;
    let requests: Vec<Bytes> = events.iter().map(|event| intake.request(event).into()).collect();
    let address = intake.address().to_owned();
    let (warm, rest) = requests.split_at(WARM_UP);
    load::run(&address, warm.to_vec(), CONNECTIONS, Pace::Closed).await;
    let full = &rest[..rest.len() * 2 / 3];
    let peak = load::run(&address, full.to_vec(), CONNECTIONS, Pace::ClosedFor(SPAN)).await;
    let rate = peak.rate() / 2.0;
    let calm = &rest[full.len()..];
    let calm = &calm[..calm.len().min((rate * SPAN.as_secs_f64()) as usize)];
    let half = load::run(&address, calm.to_vec(), CONNECTIONS, Pace::PerSecond(rate as u32)).await;
    let memory = process::memory(&intake.processes()) >> 20;
    let answered = WARM_UP + peak.latencies.len() + half.latencies.len();
    let stored = intake.stored_after_crash(answered).await;
    if stored != answered {
        return Err(format!(
            "of {answered} answered events {stored} were there after the kill"
        ));
    }
    let ms = |outcome: &Outcome, share| outcome.percentile(share).as_secs_f64() * 1e3;
    Ok(vec![
        (RATE, peak.rate()),
        (P50, ms(&peak, 0.5)),
        (P99, ms(&peak, 0.99)),
        (HALF_P99, ms(&half, 0.99)),
        (REFUSED, (peak.refused + half.refused) as f64),
        (MEMORY, memory as f64),
    ])
}

fn events() -> Vec<Signed> {
    let text = format!("@roost {}", "lorem ipsum ".repeat(TEXT / 12));
    let event = |number: usize| {
        let place = Place {
            // Each in a conversation of its own: it starts a run, and does not join one.
            number: 1 + u32::try_from(number).expect("small"),
            ..Place::default()
        };
        Fixture::GithubIssueComment.make(&Order {
            secret: SECRET,
            text: &text,
            // Ids far apart, as a provider's are: neighbours would fall on one page of the index.
            id: (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16 | 1,
            now: UnixMillis(1_763_690_000_000),
            place,
            ..Order::default()
        })
    };
    (0..EVENTS).map(event).collect()
}
