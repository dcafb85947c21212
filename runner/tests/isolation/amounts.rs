//! What a sprite may try to take more than its share of: processes, memory, disk.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    attempts::{Outcome, expect, python},
    host::{Host, processes, sh},
};

pub(crate) async fn fork_bomb(host: &Host) -> Outcome {
    let bomber = host.sprite("bomber").await;
    let mark = format!("1000.{}", host.pid());
    let many = format!("for i in $(seq 200); do sleep {mark} & done 2>/dev/null; true");
    sh(&bomber, &many).await;
    let count = marked(&mark);
    expect((1..=64).contains(&count), || {
        format!("{count} processes of one sprite run")
    })?;
    sh(&bomber, "b() { b | b & }; b; sleep 1").await;
    let running = sh(&host.victim, "echo well").await;
    expect(running.0 == 0, || running.1.clone())?;
    expect(host.is_well().await, || "the host does not answer".into())?;
    let gone = host.end(&bomber).await;
    expect(gone, || "the sprite could not be deleted".into())?;
    expect(marked(&mark) == 0, || "its processes outlive it".into())
}

pub(crate) async fn hog_memory(host: &Host) -> Outcome {
    let hog = host.sprite("hog").await;
    let (exit, said) = sh(&hog, &python("x = bytearray(2 << 30); print(\"GOT\")")).await;
    expect(exit != 0 && !said.contains("GOT"), || {
        format!("2 GiB of 512 MiB: {said}")
    })?;
    // Together they are too much, each alone is not.
    let parts = "for i in 1 2 3 4; do python3 -c 'x = bytearray(b\"1\") * (200 << 20); import time; time.sleep(3); print(\"GOT\")' & done; wait";
    let (_, said) = sh(&hog, parts).await;
    let survived = said.lines().filter(|line| *line == "GOT").count();
    expect(survived < 4, || {
        format!("{survived} of 4 times 200 MiB in 512 MiB: {said}")
    })?;
    expect(host.is_well().await, || "the host does not answer".into())
}

pub(crate) async fn fill_disk(host: &Host) -> Outcome {
    let filler = host.sprite("filler").await;
    let (exit, said) = sh(&filler, "dd if=/dev/zero of=big bs=1M count=200").await;
    expect(exit != 0, || format!("one file of 200 MiB in 64 MiB: {said}"))?;
    let (exit, said) = sh(&filler, "rm -f big; for i in $(seq 400); do dd if=/dev/zero of=part$i bs=1M count=4 status=none; sleep 0.02; done").await;
    expect(exit != 0, || format!("1.6 GiB in 64 MiB: {said}"))?;
    // Whoever looks while the host still ends what filled the disk is ended, too.
    let mut looked = Err(String::new());
    for _ in 0..40 {
        sleep(Duration::from_millis(50)).await;
        let (_, said) = sh(&filler, "du -sm ~ | cut -f1; rm -f part*").await;
        looked = said.trim().parse::<u64>().map_err(|_| said);
        if looked.is_ok() {
            break;
        }
    }
    let used = looked.map_err(|said| format!("nobody can look at the disk: {said}"))?;
    // What is written between two looks is too much, but not without bound.
    expect(used < 1_200, || format!("{used} MiB on the disk"))?;
    expect(host.is_well().await, || "the host does not answer".into())
}

/// How many processes of this machine have the mark as an argument.
fn marked(mark: &str) -> usize {
    processes(mark).len()
}
