//! The row `density`: what runs take of a runner while they wait, and while their models speak.

use std::time::Duration;

use roost_runner::standin::model::{ModelServer, Script, Turn};

use super::{
    attempt::{Contender, Effort, compare},
    report::{Kind, Row, Sample},
};
use crate::bench::{crew::Crew, process, subject::Subject};

/// Runs that are held in memory, and again as many that are queued behind them.
const RUNS: u32 = 1_000;
/// Bytes of each run's transcript.
const TRANSCRIPT: usize = 40_000;
/// Runs whose models speak at the same time.
const STREAMS: u32 = 100;
const PER_TOKEN: Duration = Duration::from_millis(20);
/// How long their processor time is counted.
const LISTENING: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
const EFFORT: Effort = Effort {
    times: 1,
    each: Duration::from_secs(120),
    all: Duration::from_secs(120),
};

const HELD: Kind = Kind::less("waiting for a slow model: KiB of the runner each");
const HELD_PER_GB: Kind = Kind::more("of those in 1 GB of runner");
const QUEUED: Kind = Kind::less("queued: KiB of the runner each");
const EDGE: Kind = Kind::less("of the edge, each of both");
const STREAMING: Kind = Kind::less("100 streaming runs: runner, % of a core");
const STREAMING_EDGE: Kind = Kind::less("edge, % of a core");

pub(super) async fn row() -> Row {
    let contenders = vec![Contender::new("Roost, native, embedded libSQL", once)];
    Row {
        name: "density",
        question: "1,000 runs with transcripts of 40 KB wait for a model that takes its time, 1,000 more are queued: what do they take of \
                   the runner's memory? And what processor time do 100 runs take whose models speak 50 tokens a second?",
        entries: compare(contenders, EFFORT).await,
        notes: &[
            "Each held run has an open connection to the model. A queued or parked run is a row of the database: how many there are is \
             not the runner's concern.",
            "Processor time is the kernel's, over 5 s; a core is 100 %.",
        ],
        picture: None,
    }
}

async fn once() -> Result<Sample, String> {
    let mut sample = waiting().await;
    sample.extend(streaming().await);
    Ok(sample)
}

async fn waiting() -> Sample {
    let mut subject = Subject::start().await;
    let model = ModelServer::start(Script::by(|_| Turn::say("Done.")))
        .await
        .expect("a model");
    let mut crew = Crew::start("bench", RUNS, &subject.address, &subject.office, &model.url()).await;
    // One run first, so that what every runner needs once is there.
    subject.say(1..2, "@roost hello").await;
    asked(&model, 1).await;
    model.set_pace(PATIENCE * 10);
    settle().await;
    let base = (kib(crew.process_id()), kib(subject.process_id()));
    let text = format!("@roost {}", "lorem ipsum ".repeat(TRANSCRIPT / 12));
    subject.say(2..2 + RUNS, &text).await;
    asked(&model, 1 + RUNS).await;
    settle().await;
    let held = kib(crew.process_id());
    subject.say(2 + RUNS..2 + 2 * RUNS, &text).await;
    settle().await;
    let after = (kib(crew.process_id()), kib(subject.process_id()));
    let each = |more: f64, runs: u32| more.max(0.0) / f64::from(runs);
    let held_each = each(held - base.0, RUNS);
    vec![
        (HELD, held_each),
        (HELD_PER_GB, f64::from(1 << 20) / held_each),
        (QUEUED, each(after.0 - held, RUNS)),
        (EDGE, each(after.1 - base.1, 2 * RUNS)),
    ]
}

async fn streaming() -> Sample {
    let mut subject = Subject::start().await;
    let words = "word ".repeat(50 * 30);
    let script = Script::by(move |_| Turn::say(words.clone()));
    let model = ModelServer::start(script).await.expect("a model");
    model.set_pace(PER_TOKEN);
    let mut crew = Crew::start("bench", STREAMS, &subject.address, &subject.office, &model.url()).await;
    subject.say(1..1 + STREAMS, "@roost tell me more").await;
    asked(&model, STREAMS).await;
    settle().await;
    let processes = [crew.process_id(), subject.process_id()];
    let before = processes.map(|id| process::processor(&[id]));
    tokio::time::sleep(LISTENING).await;
    let after = processes.map(|id| process::processor(&[id]));
    let share = |place: usize| (after[place] - before[place]).as_secs_f64() / LISTENING.as_secs_f64() * 100.0;
    vec![(STREAMING, share(0)), (STREAMING_EDGE, share(1))]
}

async fn asked(model: &ModelServer, times: u32) {
    let received = model.received(usize::try_from(times).expect("small"));
    tokio::time::timeout(PATIENCE, received)
        .await
        .expect("every run asks the model");
}

/// What was under way is over, buffers are given back.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

fn kib(process: u32) -> f64 {
    process::memory(&[process]) as f64 / 1024.0
}
