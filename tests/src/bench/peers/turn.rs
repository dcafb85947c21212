//! The row `turn`: what it costs to make a turn of a model and a tool survive a crash.

use std::{path::Path, process::Command, time::Duration};

use serde::Deserialize;
use tempfile::TempDir;
use xtask::peers;

use super::{
    attempt::{Contender, Effort, compare},
    programs::{printed, said, scripts},
    report::{Kind, Row, Sample},
    restate::Restate,
};
use crate::{
    Process,
    bench::turn::{self, TURNS},
    toolbox,
};

const RUNS: u32 = 25;
const WARM_UP: u32 = 3;
const ALL: usize = (WARM_UP + RUNS) as usize;
const EFFORT: Effort = Effort {
    times: 3,
    each: Duration::from_secs(60),
    all: Duration::from_secs(90),
};

const P50: Kind = Kind::less("a turn, p50 ms");
const P99: Kind = Kind::less("a turn, p99 ms");

pub(super) async fn row() -> Row {
    let graph = format!("LangGraph {}, SQLite checkpointer, sync", version("langgraph"));
    let contenders = vec![
        Contender::new("Roost, native, embedded libSQL", roost),
        Contender::new(Restate::name(), restate),
        Contender::new(format!("DBOS {}, SQLite", version("dbos")), || {
            python("dbos_turns.py")
        }),
        Contender::new(graph, || python("langgraph_turns.py")),
    ];
    let entries = compare(contenders, EFFORT).await;
    Row {
        name: "turn",
        question: "An agent takes 20 turns; in each a model answers at once and a tool does nothing. What does a turn take, when both \
                   are durable before the next begins? Afterwards everything is killed with -9: a number stands \
                   here only if every turn of every run is there.",
        entries,
        notes: &[
            "Roost's model is called over HTTP and answers in a stream, and that is part of its turn. In the peers both are functions \
             that return a constant: two steps of Restate (`ctx.run`) and DBOS, two nodes of a LangGraph loop.",
            "DBOS and LangGraph write into a file of their own process; Roost and Restate are asked over HTTP by theirs.",
        ],
        picture: None,
    }
}

fn sample(mut turns: Vec<Duration>) -> Sample {
    turns.sort_unstable();
    let at = |share: f64| turns[((turns.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    vec![(P50, at(0.5)), (P99, at(0.99))]
}

async fn roost() -> Result<Sample, String> {
    let measured = turn::measure(WARM_UP, RUNS).await;
    let there = measured.whole_runs;
    if there != WARM_UP + RUNS {
        return Err(format!(
            "of {} runs {there} were whole after the kill",
            WARM_UP + RUNS
        ));
    }
    Ok(sample(measured.driven.turns))
}

async fn restate() -> Result<Sample, String> {
    let mut restate = Restate::start(None).await?;
    let client = reqwest::Client::new();
    let turns = u32::try_from(TURNS).expect("small");
    let mut took = Vec::new();
    for _ in 0..ALL {
        took.push(restate.take_turns(&client, turns).await);
    }
    let there = restate.crash("turns", ALL).await;
    if there != ALL {
        return Err(format!("of {ALL} runs {there} were there after the kill"));
    }
    Ok(sample(took.split_off(WARM_UP as usize)))
}

#[derive(Deserialize)]
struct Took {
    turn_ms: Vec<f64>,
}

async fn python(script: &'static str) -> Result<Sample, String> {
    let packages = peers::python_packages(&toolbox()).map_err(said)?;
    let folder = TempDir::new_in("target").expect("a directory");
    let file = folder.path().join("turns.db");
    let command = |mode: &str, numbers: &[usize]| program(&packages, script, mode, &file, numbers);
    let mut process = Process::start(script, command("run", &[ALL, TURNS]));
    let took: Took = process.line(|line| serde_json::from_str(line).ok()).await;
    process.kill();
    let there = printed(script, command("count", &[TURNS])).await;
    if there != ALL {
        return Err(format!("of {ALL} runs {there} were whole after the kill"));
    }
    let turns = took.turn_ms.iter().skip(WARM_UP as usize);
    Ok(sample(
        turns.map(|ms| Duration::from_secs_f64(ms / 1e3)).collect(),
    ))
}

fn program(packages: &Path, script: &str, mode: &str, file: &Path, numbers: &[usize]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(scripts().join(script))
        .arg(mode)
        .arg(std::path::absolute(file).expect("a path"))
        .args(numbers.iter().map(usize::to_string))
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The version that the list of Python packages pins.
fn version(package: &str) -> String {
    let list = std::fs::read_to_string(scripts().join("requirements.txt")).unwrap_or_default();
    let pinned = list
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{package}==")));
    pinned.unwrap_or("?").to_owned()
}
