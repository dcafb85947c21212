//! The row `growth`: what an ack and a turn cost when there is ten, a hundred and more times as much: runs in the workspace, ended
//! or asleep, workspaces in the database, turns in the run.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use roost_runner::tool::Tools;

use super::{
    attempt::guarded,
    chart::{self, Line},
    report::{Entry, Kind, Row, Sample},
};
use crate::bench::{
    crew::Crew,
    load::{self, Pace},
    model::{QuickModel, Says},
    plenty::{self, Plenty},
    subject::Subject,
    turn::{self, Noop},
};

const LIMIT: Duration = Duration::from_secs(240);
const PATIENCE: Duration = Duration::from_secs(120);
/// How often each size is measured.
const TIMES: usize = 3;
const RUNS: [u32; 3] = [1_000, 10_000, 100_000];
const ASLEEP: [u32; 3] = RUNS;
const WORKSPACES: [u32; 4] = [10, 100, 1_000, 10_000];
const TURNS: [usize; 3] = [10, 100, 1_000];
/// Events of one measurement of an ack, and the connections they come over.
const EVENTS: u32 = 1_000;
const CONNECTIONS: usize = 8;
/// Runs of one measurement of a turn.
const DRIVEN: u32 = 6;

const ACK_P50: Kind = Kind::less("ack p50 ms");
const ACK_P99: Kind = Kind::less("ack p99 ms");
const TURN: Kind = Kind::less("a turn, ms");
const BARE: Kind = Kind::less("of it the model's bare call, ms");

pub(super) async fn row() -> Row {
    let (entries, picture) = match guarded(LIMIT, curves()).await {
        Ok(curves) => {
            let lines: Vec<Line> = curves.iter().flat_map(Curve::lines).collect();
            let entries = curves.into_iter().flat_map(Curve::entries).collect();
            (entries, Some(chart::draw(&lines)))
        }
        Err(why) => (vec![Entry::new("Roost".to_owned(), Err(why))], None),
    };
    Row {
        name: "growth",
        question: "The same ack and the same turn on a native edge with more in its database: completed runs in the workspace, runs that \
                   sleep there, workspaces beside it, turns that the run has behind it.",
        entries,
        notes: &[
            "Runs and workspaces are copies of real ones, made in SQL. Acks come over 8 connections, one after the other on each; turns \
             as in the row `turn`.",
            "A model is sent the whole conversation with every call. What that takes by itself, written, sent, read and answered, is the \
             bare call with as many turns behind it.",
        ],
        picture,
    }
}

/// One thing that grows, and what was measured at each size.
struct Curve {
    what: &'static str,
    points: Vec<(f64, Vec<Sample>)>,
}

impl Curve {
    fn entries(self) -> Vec<Entry> {
        let entry = |(size, samples): (f64, Vec<Sample>)| {
            let size = super::report::number(size);
            Entry::new(format!("Roost, {size} {}", self.what), Ok(samples))
        };
        self.points.into_iter().map(entry).collect()
    }

    /// What an ack and a turn take, as lines.
    fn lines(&self) -> Vec<Line> {
        let kinds = self.points.first().and_then(|(_, samples)| samples.first());
        let line = |(kind, _): &(Kind, f64)| Line {
            label: format!("{} by {}", kind.name, self.what),
            points: self
                .points
                .iter()
                .map(|(size, samples)| (*size, median(samples, *kind)))
                .collect(),
        };
        kinds
            .into_iter()
            .flatten()
            .filter(|(kind, _)| ![ACK_P99, BARE].contains(kind))
            .map(line)
            .collect()
    }
}

fn median(samples: &[Sample], kind: Kind) -> f64 {
    let mut values: Vec<f64> = samples
        .iter()
        .flatten()
        .filter_map(|(other, value)| (*other == kind).then_some(*value))
        .collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

async fn curves() -> Result<Vec<Curve>, String> {
    let turns = turns().await?;
    let mut curves = Vec::new();
    let (subject, mut plenty, mut numbers) = (Subject::start().await, Plenty::default(), 2..u32::MAX);
    complete_one(&subject).await;
    Plenty::remember(&subject.office).await;
    let mut points = Vec::new();
    for size in WORKSPACES {
        plenty.workspaces(&subject.office, size).await;
        points.push((f64::from(size), measure(&subject, &mut numbers).await));
        eprintln!("  {size} workspaces");
    }
    curves.push(Curve {
        what: "workspaces",
        points,
    });
    let mut points = Vec::new();
    for size in RUNS {
        plenty.runs(&subject.office, size).await;
        points.push((f64::from(size), measure(&subject, &mut numbers).await));
        eprintln!("  {size} runs");
    }
    curves.push(Curve { what: "runs", points });
    let mut points = Vec::new();
    for size in ASLEEP {
        plenty::put_to_sleep(&subject.office, size).await;
        points.push((f64::from(size), measure(&subject, &mut numbers).await));
        eprintln!("  {size} of them asleep");
    }
    curves.push(Curve {
        what: "runs asleep",
        points,
    });
    curves.push(turns);
    Ok(curves)
}

/// One run from webhook to reply, as the pattern of all the others.
async fn complete_one(subject: &Subject) {
    let model = QuickModel::start(|_| Says::Done).await;
    let _crew = Crew::start("pattern", 1, &subject.address, &subject.office, model.url()).await;
    subject.say(1..2, "@roost hello").await;
    let open = "SELECT (SELECT count(*) FROM runs WHERE workspace_id = ?1 AND phase <> 'completed') \
                + (SELECT count(*) FROM effects WHERE workspace_id = ?1 AND state <> 'sent')";
    let began = Instant::now();
    while subject.office.count(open).await > 0 {
        assert!(began.elapsed() < PATIENCE, "the first run was not completed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn measure(subject: &Subject, numbers: &mut std::ops::Range<u32>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for _ in 0..TIMES {
        let driven = turn::drive(subject, take(numbers, 1), take(numbers, DRIVEN)).await;
        let turn = driven.turns[driven.turns.len() / 2];
        let requests = take(numbers, EVENTS).map(|number| subject.comment(number, "@roost hello"));
        let requests: Vec<Vec<u8>> = requests.collect();
        let acks = load::run(&subject.address, requests, CONNECTIONS, Pace::Closed).await;
        plenty::forget_queued(&subject.office).await;
        samples.push(vec![
            (ACK_P50, milliseconds(acks.percentile(0.5))),
            (ACK_P99, milliseconds(acks.percentile(0.99))),
            (TURN, milliseconds(turn)),
        ]);
    }
    samples
}

fn take(numbers: &mut std::ops::Range<u32>, count: u32) -> std::ops::Range<u32> {
    let start = numbers.start;
    numbers.start += count;
    start..start + count
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Long runs: what a turn costs when so many are behind it.
async fn turns() -> Result<Curve, String> {
    let longest = TURNS[TURNS.len() - 1];
    let mut points: Vec<(f64, Vec<Sample>)> = TURNS.iter().map(|&size| (size as f64, Vec::new())).collect();
    let subject = Subject::start().await;
    Plenty::without_limits(&subject.office).await;
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let note = Arc::clone(&asked);
    let model = QuickModel::start(move |asked| {
        note.lock().unwrap_or_else(PoisonError::into_inner).push(asked.at);
        match asked.position {
            position if position <= longest + 1 => Says::Noop,
            _ => Says::Done,
        }
    })
    .await;
    let _crew = turn::crew(&subject, &model, Tools::new().with(Noop));
    for number in 1..=u32::try_from(TIMES).expect("small") {
        // Right before what they are a part of: a machine is not equally fast at all times.
        let mut bare = Vec::new();
        for size in TURNS {
            bare.push(turn::bare_call(&model, size).await);
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let all = model.asked() + longest + 3;
        subject.say(number..number + 1, "@roost go").await;
        tokio::time::timeout(PATIENCE, model.asked_times(all))
            .await
            .map_err(|_| format!("a run of {longest} turns took more than {} s", PATIENCE.as_secs()))?;
        let at = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((size, bare), (_, samples)) in TURNS.iter().zip(&bare).zip(&mut points) {
            // The turns around that one, so that no single one speaks for it.
            let around = at[size * 9 / 10..size + 1].windows(2);
            let mut spans: Vec<Duration> = around.map(|pair| pair[1] - pair[0]).collect();
            spans.sort_unstable();
            let turn = spans[spans.len() / 2];
            samples.push(vec![(TURN, milliseconds(turn)), (BARE, milliseconds(*bare))]);
        }
        eprintln!("  a run of {longest} turns");
    }
    Ok(Curve {
        what: "turns behind it",
        points,
    })
}
