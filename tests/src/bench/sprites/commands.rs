//! Sprites made, woken and used: latencies, throughput and memory, beside plain processes of the same machine.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use roost_runner::sprite::{ExecFrame, ExecRequest, Sprite, Sprites};
use tokio::{io::AsyncReadExt, process::Command};

use crate::{RoostProcess, bench::ms};

const TOKEN: &str = "bench";
const CREATED: usize = 200;
const WOKEN: usize = 50;
const ROUND_TRIPS: usize = 500;
const OUTPUT_BYTES: u64 = 2 << 30;
/// Sprites at rest whose memory is measured.
const IDLE: usize = 1_000;

pub(super) async fn run() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = directory.path().join("roost.toml");
    std::fs::write(
        &settings,
        "[sprites]\nmax_sprites = 2000\ncreations_per_minute = 100000\n",
    )
    .expect("written");
    let (data, settings) = (
        directory.path().display().to_string(),
        settings.display().to_string(),
    );
    let arguments = [
        "sprites",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &data,
        "--config",
        &settings,
    ];
    let mut host = RoostProcess::start(&arguments, &[("ROOST_SPRITES_TOKEN", TOKEN)]);
    let sprites = Sprites::new(&host.address().await, TOKEN).expect("an address");
    // The host tries its walls before it answers.
    let warm = sprites.ensure("warm").await.expect("a sprite");
    finish(&warm, ExecRequest::new(["true"])).await;

    let mut number = 0;
    let created = several(CREATED, async || {
        number += 1;
        sprites
            .ensure(&format!("bench-{number}"))
            .await
            .expect("a sprite");
    })
    .await;
    line(
        "create (looked for first, then made durably)",
        &created,
        "p50 < 50 ms",
    );
    let mut number = 0;
    let woken = several(WOKEN, async || {
        number += 1;
        let sprite = sprites.sprite(format!("bench-{number}"));
        finish(&sprite, ExecRequest::new(["true"])).await;
    })
    .await;
    line(
        "wake: first command in a cold sprite, to its exit",
        &woken,
        "well under 1 s",
    );

    let plain = several(ROUND_TRIPS, async || {
        let status = Command::new("true").status().await.expect("true");
        assert!(status.success());
    })
    .await;
    line("a plain process, spawned and waited for", &plain, "-");
    beside("bwrap", &["--unshare-all", "--ro-bind", "/", "/", "true"]).await;
    let exec = several(ROUND_TRIPS, async || {
        finish(&warm, ExecRequest::new(["true"])).await;
    })
    .await;
    line("exec over a connection of its own", &exec, "p50 < 5 ms");
    let brief = several(ROUND_TRIPS, async || {
        let exec = warm.brief(ExecRequest::new(["true"])).await.expect("an exec");
        exec.output(0).await.expect("an exit");
    })
    .await;
    line("exec over a kept control connection", &brief, "p50 < 5 ms");

    output(&warm).await;
    memory(&sprites, host.process().id()).await;
}

/// Another way to the same, if the machine has it.
async fn beside(program: &str, arguments: &[&str]) {
    let quiet = || {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    if !quiet().status().await.is_ok_and(|status| status.success()) {
        return println!("  {program:<52} not on this machine");
    }
    let spans = several(ROUND_TRIPS, async || {
        assert!(quiet().status().await.expect("it ran").success());
    })
    .await;
    line(&format!("{program} true"), &spans, "-");
}

async fn finish(sprite: &Sprite, request: ExecRequest) {
    let output = sprite.exec(request).await.expect("an exec").output(0).await;
    assert_eq!(output.expect("an exit").exit_code, 0);
}

async fn output(sprite: &Sprite) {
    let count = OUTPUT_BYTES.to_string();
    let began = Instant::now();
    let mut exec = sprite
        .exec(ExecRequest::new(["head", "-c", &count, "/dev/zero"]))
        .await
        .expect("an exec");
    let mut bytes = 0;
    while let Some(frame) = exec.next().await {
        if let ExecFrame::Stdout(chunk) = frame.expect("a frame") {
            bytes += chunk.len() as u64;
        }
    }
    let ours = began.elapsed();
    assert_eq!(bytes, OUTPUT_BYTES, "no byte is lost");
    let began = Instant::now();
    let mut child = Command::new("head")
        .args(["-c", &count, "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("head");
    let mut pipe = child.stdout.take().expect("a pipe");
    let mut buffer = vec![0; 128 << 10];
    while pipe.read(&mut buffer).await.expect("read") > 0 {}
    let floor = began.elapsed();
    child.wait().await.expect("it ended");
    let rate = |span: Duration| OUTPUT_BYTES as f64 / 1e6 / span.as_secs_f64();
    println!(
        "  {:<52} {:.0} MB/s (a pipe of this machine: {:.0} MB/s) · target ≥ 300 MB/s",
        "output of a command",
        rate(ours),
        rate(floor)
    );
}

async fn memory(sprites: &Sprites, host: u32) {
    let before = resident(host);
    for number in 0..IDLE {
        sprites.ensure(&format!("idle-{number}")).await.expect("a sprite");
    }
    let each = resident(host).saturating_sub(before) as f64 / IDLE as f64;
    println!(
        "  {:<52} {each:.1} KiB each · target < 100 KB",
        format!("memory of {IDLE} idle sprites")
    );
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

async fn several(times: usize, mut work: impl AsyncFnMut()) -> Vec<Duration> {
    let mut spans = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        work().await;
        spans.push(began.elapsed());
    }
    spans.sort_unstable();
    spans
}

fn line(what: &str, spans: &[Duration], target: &str) {
    let at = |share: usize| ms(spans[(spans.len() * share / 100).min(spans.len() - 1)]);
    println!("  {what:<52} p50 {} · p99 {} · target {target}", at(50), at(99));
}
