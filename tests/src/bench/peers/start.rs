//! The row `start`: how soon a system that has data is ready, what it takes when nothing happens, and what its programs weigh.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xtask::edge_build;

use super::{
    attempt::{Contender, Effort, compare},
    intake::System,
    report::{Kind, Row, Sample},
    restate::Restate,
};
use crate::{RoostProcess, bench::process, toolbox};

const EFFORT: Effort = Effort {
    times: 5,
    each: Duration::from_secs(30),
    all: Duration::from_secs(60),
};

const READY: Kind = Kind::less("ready in ms");
const IDLE: Kind = Kind::less("idle memory MiB");
const SIZE: Kind = Kind::less("program MiB");
const PACKED: Kind = Kind::less("after gzip KiB");

pub(super) async fn row() -> Row {
    let toolbox = toolbox();
    let worker = edge_build::worker_folder(&toolbox);
    let worker = vec![worker.join("index.js"), worker.join("index_bg.wasm")];
    let component = vec![edge_build::spin_component(&toolbox)];
    let contenders = vec![
        Contender::new("Roost, `roost up`: edge, database, runner and sprites", up),
        Contender::new("Roost, the Worker's bundle", move || weigh(worker.clone())),
        Contender::new("Roost, the Spin component", move || weigh(component.clone())),
        Contender::new(Restate::name(), restate),
        Contender::new(System::BullMq.name(), || idle(System::BullMq)),
        Contender::new(System::Graphile.name(), || idle(System::Graphile)),
    ];
    Row {
        name: "start",
        question: "How long from the start of a system that has been started before until it answers, what does it take when nothing \
                   happens, and what does its program weigh?",
        entries: compare(contenders, EFFORT).await,
        notes: &[
            "Restate without its service; the Node peers with database, HTTP front and worker, each a process of its own.",
        ],
        picture: None,
    }
}

async fn up() -> Result<Sample, String> {
    let data = TempDir::new_in("target").expect("a directory");
    let path = data.path().display().to_string();
    let start = || {
        let arguments = ["up", "--data", &path, "--listen", "127.0.0.1:0"];
        // A provider that nobody asks.
        RoostProcess::start(&arguments, &[("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")])
    };
    let mut first = start();
    first.address().await;
    first.process().kill();
    let began = Instant::now();
    let mut again = start();
    let address = again.address().await;
    healthy(&format!("{address}/healthz")).await;
    let ready = began.elapsed();
    let idle = idle_memory(&[again.process().id()]).await;
    Ok(vec![
        (READY, ready.as_secs_f64() * 1e3),
        (IDLE, idle),
        (SIZE, mib(&crate::roost::binary())),
    ])
}

async fn restate() -> Result<Sample, String> {
    let mut restate = Restate::start(None).await?;
    let ready = restate.ready_in().await?;
    let idle = idle_memory(&[restate.server()]).await;
    Ok(vec![
        (READY, ready.as_secs_f64() * 1e3),
        (IDLE, idle),
        (SIZE, mib(&restate.program()?)),
    ])
}

async fn idle(system: System) -> Result<Sample, String> {
    let arrivals = super::arrivals::Arrivals::start().await;
    let mut intake = system.start(Some(&arrivals)).await?;
    Ok(vec![(IDLE, idle_memory(&intake.processes()).await)])
}

async fn weigh(files: Vec<PathBuf>) -> Result<Sample, String> {
    let (mut whole, mut packed) = (0.0, 0);
    for file in &files {
        whole += mib(file);
        packed += edge_build::packed_size(file).map_err(super::programs::said)?;
    }
    Ok(vec![(SIZE, whole), (PACKED, packed as f64 / 1024.0)])
}

async fn healthy(url: &str) {
    while !reqwest::get(url)
        .await
        .is_ok_and(|answer| answer.status().is_success())
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn idle_memory(processes: &[u32]) -> f64 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    process::memory(processes) as f64 / f64::from(1 << 20)
}

fn mib(file: &Path) -> f64 {
    std::fs::metadata(file).map_or(0, |file| file.len()) as f64 / f64::from(1 << 20)
}
