//! Checkpoints over the API: taken while commands run, restored, and across the death of the host.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use roost_runner::sprite::{Sprite, SpriteError, Sprites, host::HostConfig};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, Running, TOKEN, read_exit, read_until, run, sh, sprite};

#[tokio::test]
async fn a_restore_ends_what_runs_and_brings_the_files_back() {
    let (_dir, host, sprite) = sprite().await;
    run(&sprite, "echo one > state; mkdir -p deep/er; ln -s state link").await;
    let first = sprite.checkpoint(Some("before the risk")).await.unwrap();
    assert_eq!(
        (first.id.as_str(), first.comment.as_deref()),
        ("v1", Some("before the risk"))
    );
    run(&sprite, "rm -r deep; echo two > state").await;
    let mut exec = sprite.exec(sh("echo up; sleep 1000")).await.unwrap();
    read_until(&mut exec, "up").await;
    sprite.restore("v1").await.unwrap();
    assert_eq!(read_exit(&mut exec).await.1, 137);
    assert_eq!(run(&sprite, "cat link; ls -d deep/er").await, "one\ndeep/er\n");

    let all = sprite.checkpoints().await.unwrap();
    let ids: Vec<_> = all.iter().map(|checkpoint| checkpoint.id.as_str()).collect();
    assert_eq!(ids, ["Current", "auto-1", "v1"]);
    assert!(all[1].is_auto && all[0].source_id.as_deref() == Some("v1"));
    sprite.restore("auto-1").await.unwrap();
    assert_eq!(run(&sprite, "cat state").await, "two\n");
    let gone = sprite.restore("v7").await.unwrap_err();
    assert_eq!(gone.code(), "sprite_gone");
    host.stop().await;
}

#[tokio::test]
async fn a_checkpoint_is_of_one_moment_and_commands_go_on_after_it() {
    let (_dir, host, sprite) = sprite().await;
    // First and last name of a directory that takes a while to walk.
    run(&sprite, "mkdir d; for i in $(seq 2000); do echo $i > d/m$i; done").await;
    let writer =
        "echo 0 >> d/a; echo 0 >> d/z; echo up; while :; do i=$((i+1)); echo $i >> d/a; echo $i >> d/z; done";
    let mut exec = sprite.exec(sh(writer)).await.unwrap();
    read_until(&mut exec, "up").await;
    let lines = async |sprite: &Sprite| {
        let text = run(sprite, "wc -l < d/a; wc -l < d/z").await;
        let mut numbers = text.lines().map(|line| line.parse::<i64>().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    };
    let taken = sprite.checkpoint(None).await.unwrap();
    let (mut now, start) = (lines(&sprite).await.0, lines(&sprite).await.0);
    while now <= start {
        now = lines(&sprite).await.0;
    }
    sprite.restore(&taken.id).await.unwrap();
    let (first, last) = lines(&sprite).await;
    assert!(
        (0..=1).contains(&(first - last)),
        "{first} lines in the first file, {last} in the last"
    );
    host.stop().await;
}

#[tokio::test]
async fn what_was_stopped_before_a_checkpoint_stays_stopped_and_the_rest_goes_on() {
    let (_dir, host, sprite) = sprite().await;
    let start =
        "sleep 1000 & kill -STOP $!; echo $! > stopped; sleep 1000 & echo $! > running; echo up; wait";
    let mut exec = sprite.exec(sh(start)).await.unwrap();
    read_until(&mut exec, "up").await;
    sprite.checkpoint(None).await.unwrap();
    let state = async |of: &str| {
        let state = format!("cut -d' ' -f3 /proc/$(cat {of})/stat");
        run(&sprite, &state).await.trim().to_owned()
    };
    // They go on a moment after the answer.
    while state("running").await == "T" {}
    assert_eq!(state("stopped").await, "T");
    host.stop().await;
}

#[tokio::test]
async fn checkpoints_have_a_share_of_the_disk_for_which_automatic_ones_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.limits.checkpoint_bytes = 5 << 19;
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    let change = async || run(&sprite, "head -c 1M /dev/urandom > f; cksum f").await;
    let ids = async || {
        let all = sprite.checkpoints().await.unwrap();
        all.into_iter()
            .skip(1)
            .map(|checkpoint| checkpoint.id)
            .collect::<Vec<_>>()
    };
    let first = change().await;
    sprite.checkpoint(None).await.unwrap();
    change().await;
    sprite.restore("v1").await.unwrap();
    change().await;
    assert_eq!(ids().await, ["auto-1", "v1"]);
    // 2 of 2.5 MiB are taken.
    sprite.checkpoint(None).await.unwrap();
    assert_eq!(ids().await, ["v2", "v1"], "what nobody asked for makes room");
    let last = change().await;
    for refused in [
        sprite.checkpoint(None).await.map(drop),
        sprite.restore("v1").await,
    ] {
        let said = refused.unwrap_err().to_string();
        assert!(
            said.contains("2 MiB that the sprite's checkpoints may take"),
            "{said}"
        );
    }
    assert_eq!(
        run(&sprite, "cksum f").await,
        last,
        "nothing was put back in part"
    );
    let url = format!("{}/v1/sprites/agent-7/checkpoints/v2", host.base);
    let dropped = reqwest::Client::new().delete(url).bearer_auth(TOKEN).send().await;
    assert!(dropped.unwrap().status().is_success());
    sprite.restore("v1").await.unwrap();
    assert_eq!(run(&sprite, "cksum f").await, first);
    host.stop().await;
}

#[tokio::test]
async fn checkpoints_are_limited_and_go_with_their_sprite() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    (config.limits.checkpoints, config.limits.auto_checkpoints) = (2, 2);
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    sprite.checkpoint(None).await.unwrap();
    sprite.checkpoint(None).await.unwrap();
    let full = sprite.checkpoint(None).await.unwrap_err();
    assert!(
        matches!(&full, SpriteError::Refused { reason, .. } if reason == "checkpoint_failed"),
        "{full:?}"
    );
    for _ in 0..4 {
        sprite.restore("v1").await.unwrap();
    }
    let ids: Vec<_> = sprite
        .checkpoints()
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(ids, ["Current", "auto-4", "auto-3", "v2", "v1"]);
    host.sprites.delete("agent-7").await.unwrap();
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    assert_eq!(
        sprite.checkpoints().await.unwrap().len(),
        1,
        "a new sprite has none"
    );
    host.stop().await;
}

/// A host in a process of its own, to be killed.
struct Process {
    child: Child,
    sprite: Sprite,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roost"))
            .args(["sprites", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("ROOST_SPRITES_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().rsplit(' ').next().unwrap();
        let sprite = Sprites::new(url, TOKEN).unwrap().sprite("agent-7");
        Self { child, sprite }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_host_that_is_killed_leaves_a_whole_sprite_and_whole_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    // Where the program keeps its sprites.
    let made = Running::on(&dir.path().join("sprite-host")).await;
    let sprite = made.sprites.ensure("agent-7").await.unwrap();
    let fill = |text: &str| format!("for i in $(seq 400); do echo {text} > f$i; done; cat f* | sort -u");
    assert_eq!(run(&sprite, &fill("one")).await, "one\n");
    assert_eq!(sprite.checkpoint(None).await.unwrap().id, "v1");
    assert_eq!(run(&sprite, &fill("two")).await, "two\n");
    assert_eq!(sprite.checkpoint(None).await.unwrap().id, "v2");
    let began = Instant::now();
    sprite.restore("v1").await.unwrap();
    let takes = began.elapsed();
    drop(sprite);
    made.stop().await;

    let rounds = 8;
    for round in 1..=rounds {
        let target = if round % 2 == 0 { "v1" } else { "v2" };
        let host = Process::start(dir.path());
        let sprite = host.sprite.clone();
        let mut restoring = tokio::spawn(async move { sprite.restore(target).await });
        // Killed anywhere on the way, and at last the moment it is done.
        let within = if round < rounds {
            takes * round / rounds
        } else {
            PATIENCE
        };
        let in_time = timeout(within, &mut restoring).await;
        host.kill();
        let done = match in_time {
            Ok(ended) => ended.unwrap().is_ok(),
            Err(_) => restoring.await.unwrap().is_ok(),
        };
        assert!(done || round < rounds);

        let host = Process::start(dir.path());
        let text = run(&host.sprite, "cat f* | sort -u; ls | wc -l").await;
        let current = host.sprite.checkpoints().await.unwrap().swap_remove(0);
        assert_eq!(current.health, "");
        let came = current.source_id.unwrap_or_default();
        let (one, two) = ("one\n400\n", "two\n400\n");
        assert!(
            text == one || text == two,
            "round {round}: neither the one nor the other: {text}"
        );
        assert!(!done || came == target, "what was answered is so");
        if came == target {
            assert_eq!(text, if target == "v1" { one } else { two }, "round {round}");
        }
        let taken = host.sprite.checkpoint(None).await.unwrap();
        assert_eq!(taken.health, "");
        host.kill();
    }
}
