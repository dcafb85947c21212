//! The row `dispatch`: how long an event is on its way to the one who works on it.

use std::time::Duration;

use super::{
    attempt::{Contender, Effort, compare},
    intake::System,
    report::{Kind, Row, Sample},
    roost::Host,
};
use crate::bench::dispatch::{Measured, measure};

const EFFORT: Effort = Effort {
    times: 3,
    each: Duration::from_secs(60),
    all: Duration::from_secs(150),
};
const OTHERS: u32 = 1_000;

const IDLE_P50: Kind = Kind::less("idle, p50 ms");
const IDLE_P99: Kind = Kind::less("idle, p99 ms");
const BUSY_P50: Kind = Kind::less("1,000 others/s, p50 ms");
const BUSY_P99: Kind = Kind::less("1,000 others/s, p99 ms");
const HANDLED: Kind = Kind::more("others handled within 5 s, %");

pub(super) async fn row() -> Row {
    let systems = [
        System::Roost(Host::Native),
        System::Restate,
        System::BullMq,
        System::Graphile,
    ];
    let contenders = systems.map(|system| Contender::new(system.name(), move || once(system)));
    let entries = compare(contenders.into(), EFFORT).await;
    Row {
        name: "dispatch",
        question: "A signed webhook is sent: how long until the model of its run is asked (Roost), or until the first line of its \
                   handler runs (the peers)? Everything is warm and on one host; alone, and while 1,000 others come every second, \
                   which are handled too.",
        entries,
        notes: &[
            "Roost's way is longer: its run is started, leased by a runner in another process, its context is put together and the \
             model is called over HTTP. A peer's handler tells a kept connection that it has begun.",
        ],
        picture: None,
    }
}

async fn once(system: System) -> Result<Sample, String> {
    let ms = |measured: &Measured, share| measured.probes.percentile(share).as_secs_f64() * 1e3;
    let idle = measure(system, 0).await?;
    let busy = measure(system, OTHERS).await?;
    Ok(vec![
        (IDLE_P50, ms(&idle, 0.5)),
        (IDLE_P99, ms(&idle, 0.99)),
        (BUSY_P50, ms(&busy, 0.5)),
        (BUSY_P99, ms(&busy, 0.99)),
        (HANDLED, busy.handled * 100.0),
    ])
}
