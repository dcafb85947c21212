//! Single commands: streams, exit, stdin, back-pressure, terminal, signals.

use std::time::Duration;

use bytes::Bytes;
use roost_runner::sprite::{ExecFrame, ExecRequest, Signal};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, long, read_exit, read_until, run, sh, sprite, until_dead, until_running};

#[tokio::test]
async fn a_command_has_both_streams_an_exit_code_and_a_clean_environment() {
    let (_dir, host, sprite) = sprite().await;
    let exec = sprite.exec(sh("echo out; echo err >&2; exit 3")).await.unwrap();
    assert!(!exec.session_id().is_empty() && !exec.tty());
    let output = exec.output(1000).await.unwrap();
    assert_eq!(
        (output.exit_code, &output.stdout[..], &output.stderr[..]),
        (3, &b"out\n"[..], &b"err\n"[..])
    );

    let text = run(
        &sprite,
        "pwd; echo $HOME; env | grep -c CARGO || true; ps -o sid= $$ | tr -d ' '; echo $$",
    )
    .await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["/home/sprite", "/home/sprite", "0"]);
    assert_eq!(lines[3], lines[4], "it leads a process session of its own");

    let replaced = ExecRequest::new(["/usr/bin/env"])
        .env("ONLY", "this")
        .env("PATH", "/bin");
    let output = sprite.exec(replaced).await.unwrap().output(1000).await.unwrap();
    let text = String::from_utf8(output.stdout.to_vec()).unwrap();
    let mut keys: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, _)| key)
        .collect();
    keys.sort_unstable();
    // What leads to the network is there in any case.
    keys.retain(|key| !key.to_ascii_lowercase().contains("proxy"));
    assert_eq!(keys, ["ONLY", "PATH"]);

    let missing = sprite
        .exec(ExecRequest::new(["no-such-program"]))
        .await
        .unwrap()
        .output(1000)
        .await
        .unwrap();
    assert_eq!(
        (missing.exit_code, &missing.stderr[..]),
        (127, &b"no-such-program: command not found\n"[..])
    );
    host.stop().await;
}

#[tokio::test]
async fn stdin_reaches_the_command_until_its_end() {
    let (_dir, host, sprite) = sprite().await;
    let mut exec = sprite.exec(ExecRequest::new(["cat"]).stdin()).await.unwrap();
    exec.input().write("one ").await.unwrap();
    exec.input().write("two\n").await.unwrap();
    assert_eq!(read_until(&mut exec, "\n").await, "one two\n");
    exec.input().eof().await.unwrap();
    assert_eq!(read_exit(&mut exec).await, (String::new(), 0));

    // Without stdin a command reads nothing instead of waiting for ever.
    let output = sprite
        .exec(ExecRequest::new(["cat"]))
        .await
        .unwrap()
        .output(1000)
        .await
        .unwrap();
    assert_eq!((output.exit_code, output.stdout), (0, Bytes::new()));
    host.stop().await;
}

#[tokio::test]
async fn megabytes_go_both_ways_at_once_without_loss() {
    const MEGABYTES: usize = 16;
    let (_dir, host, sprite) = sprite().await;
    let mut exec = sprite.exec(ExecRequest::new(["cat"]).stdin()).await.unwrap();
    let input = exec.input().clone();
    let block: Vec<u8> = (0..1 << 20)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let sent = block.clone();
    let writer = tokio::spawn(async move {
        for _ in 0..MEGABYTES {
            input.write(sent.clone()).await.unwrap();
        }
        input.eof().await.unwrap();
    });
    let mut got = Vec::with_capacity(MEGABYTES << 20);
    loop {
        match timeout(PATIENCE, exec.next())
            .await
            .expect("no deadlock")
            .expect("an exit")
            .unwrap()
        {
            ExecFrame::Stdout(bytes) => got.extend_from_slice(&bytes),
            ExecFrame::Stderr(bytes) => panic!("{bytes:?}"),
            ExecFrame::Exit(code) => break assert_eq!(code, 0),
        }
    }
    assert!(
        got.len() == MEGABYTES << 20 && got.chunks(block.len()).all(|chunk| chunk == block),
        "bytes were changed"
    );
    writer.await.unwrap();
    host.stop().await;
}

#[tokio::test]
async fn a_slow_reader_holds_the_command_back_and_loses_nothing() {
    const BYTES: usize = 64 << 20;
    let (_dir, host, sprite) = sprite().await;
    // The command writes down how far it came after each megabyte.
    let script = "for i in {1..64}; do head -c 1048576 /dev/zero; echo $i > progress; done";
    let mut exec = sprite.exec(sh(script)).await.unwrap();
    let ExecFrame::Stdout(first) = exec.next().await.unwrap().unwrap() else {
        panic!("output first")
    };
    let (mut last, mut unchanged) = (0, 0);
    let stuck = timeout(PATIENCE, async {
        while unchanged < 20 {
            let text = sprite.read("progress").await.unwrap_or_default();
            let now: usize = String::from_utf8_lossy(&text).trim().parse().unwrap_or(0);
            unchanged = if now == last && now > 0 { unchanged + 1 } else { 0 };
            last = now;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        last
    });
    assert!(
        stuck.await.expect("it stops while nobody reads") < 64,
        "it ran to its end although nobody read"
    );
    let mut total = first.len();
    loop {
        match timeout(PATIENCE, exec.next())
            .await
            .expect("it goes on")
            .expect("an exit")
            .unwrap()
        {
            ExecFrame::Stdout(bytes) => total += bytes.len(),
            ExecFrame::Stderr(bytes) => panic!("{bytes:?}"),
            ExecFrame::Exit(code) => break assert_eq!(code, 0),
        }
    }
    assert_eq!(total, BYTES);
    host.stop().await;
}

#[tokio::test]
async fn a_terminal_can_be_resized_and_interrupted() {
    let (_dir, host, sprite) = sprite().await;
    // It starts nothing while it waits: an interrupt that meets a child before it is a program is lost to the shell.
    let script = "trap 'stty size' WINCH; trap 'exit 42' INT; stty size; while :; do read -r -t 0.05; done";
    let request = sh(script).tty(30, 100);
    let mut exec = sprite.exec(request).await.unwrap();
    assert!(exec.tty());
    assert_eq!(read_until(&mut exec, "\n").await.trim(), "30 100");
    exec.input().resize(40, 120).await.unwrap();
    assert_eq!(read_until(&mut exec, "\n").await.trim(), "40 120");
    // Ctrl-C, as from a keyboard.
    exec.input().write("\x03").await.unwrap();
    assert_eq!(read_exit(&mut exec).await.1, 42);
    host.stop().await;
}

#[tokio::test]
async fn a_signal_reaches_the_command_and_its_children() {
    let (_dir, host, sprite) = sprite().await;
    let script = "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.02; done 2>/dev/null";
    let mut exec = sprite.exec(sh(script)).await.unwrap();
    read_until(&mut exec, "ready").await;
    exec.input().signal(Signal::Usr1).await.unwrap();
    assert_eq!(read_exit(&mut exec).await, ("caught\n".into(), 9));

    let mark = long();
    let script = format!("sleep {mark} & echo begun; wait");
    let mut exec = sprite.exec(sh(&script)).await.unwrap();
    read_until(&mut exec, "begun").await;
    until_running(&mark, 2).await;
    exec.input().signal(Signal::Kill).await.unwrap();
    assert_eq!(read_exit(&mut exec).await.1, 137);
    until_dead(&mark).await;
    host.stop().await;
}

#[tokio::test]
async fn a_background_process_does_not_hold_the_exit_back() {
    let (_dir, host, sprite) = sprite().await;
    let mark = long();
    let mut exec = sprite
        .exec(sh(&format!("sleep {mark} & echo begun")))
        .await
        .unwrap();
    let (_, code) = read_exit(&mut exec).await;
    assert_eq!(code, 0);
    until_running(&mark, 1).await;
    host.stop().await;
    until_dead(&mark).await;
}
