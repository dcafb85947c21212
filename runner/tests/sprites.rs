//! The Sprites client against our own host, over loopback: commands, sessions, files, and who may not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, time::Duration};

use bytes::Bytes;
use roost_runner::sprite::{
    Disconnected, Exec, ExecFrame, ExecRequest, FileEntry, FileErrorKind, KillEvent, Signal, Sprite,
    SpriteError, Sprites,
    host::{self, HostConfig},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

const TOKEN: &str = "a token for tests";
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    sprites: Sprites,
    base: String,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Running {
    async fn on(dir: &Path) -> Self {
        Self::with(HostConfig::new(dir, TOKEN)).await
    }

    async fn with(config: HostConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            host::serve(listener, config, stopped).await.unwrap();
        });
        Self {
            sprites: Sprites::new(&base, TOKEN).unwrap(),
            base,
            stop,
            server,
        }
    }

    async fn stop(self) {
        drop(self.sprites);
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.server)
            .await
            .expect("the host stops")
            .unwrap();
    }
}

/// A host with one sprite.
async fn sprite() -> (tempfile::TempDir, Running, Sprite) {
    let dir = tempfile::tempdir().unwrap();
    let host = Running::on(dir.path()).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    (dir, host, sprite)
}

fn sh(script: &str) -> ExecRequest {
    ExecRequest::new(["bash", "-c", script])
}

async fn run(sprite: &Sprite, script: &str) -> String {
    let output = sprite
        .exec(sh(script))
        .await
        .unwrap()
        .output(1 << 20)
        .await
        .unwrap();
    assert_eq!(
        output.exit_code,
        0,
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.to_vec()).unwrap()
}

/// Reads frames until stdout contains `text`; returns all stdout so far.
async fn read_until(exec: &mut Exec, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let frame = timeout(PATIENCE, exec.next())
            .await
            .unwrap_or_else(|_| panic!("no {text:?} in {seen:?}"));
        match frame.expect("more output").unwrap() {
            ExecFrame::Stdout(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} instead of {text:?} after {seen:?}"),
        }
    }
    seen
}

/// Reads to the exit; returns the rest of stdout and the exit code.
async fn read_exit(exec: &mut Exec) -> (String, i32) {
    let mut seen = String::new();
    loop {
        match timeout(PATIENCE, exec.next())
            .await
            .expect("it ends")
            .expect("an exit")
            .unwrap()
        {
            ExecFrame::Stdout(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            ExecFrame::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            ExecFrame::Exit(code) => {
                assert!(exec.next().await.is_none(), "nothing follows the exit");
                return (seen, code);
            }
        }
    }
}

/// Waits until no process of that id runs; zombies count as dead.
async fn until_dead(pid: &str) {
    let stat = format!("/proc/{}/stat", pid.trim());
    let gone = timeout(PATIENCE, async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.unwrap_or_else(|_| panic!("process {pid} still runs"));
}

fn names(entries: Vec<FileEntry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test]
async fn a_command_has_both_streams_an_exit_code_and_a_clean_environment() {
    let (dir, host, sprite) = sprite().await;
    let exec = sprite.exec(sh("echo out; echo err >&2; exit 3")).await.unwrap();
    assert!(!exec.session_id().is_empty() && !exec.tty());
    let output = exec.output(1000).await.unwrap();
    assert_eq!(
        (output.exit_code, &output.stdout[..], &output.stderr[..]),
        (3, &b"out\n"[..], &b"err\n"[..])
    );

    let home = dir
        .path()
        .canonicalize()
        .unwrap()
        .join("sprites/agent-7/root/home/sprite");
    let text = run(
        &sprite,
        "pwd; echo $HOME; env | grep -c CARGO || true; ps -o sid= $$ | tr -d ' '; echo $$",
    )
    .await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], [home.to_str().unwrap(), home.to_str().unwrap(), "0"]);
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
    assert_eq!(keys, ["ONLY", "PATH", "ROOST_SPRITE_ID"]);

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
    let request = sh("trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done").tty(30, 100);
    let mut exec = sprite.exec(request).await.unwrap();
    assert!(exec.tty());
    assert_eq!(read_until(&mut exec, "\n").await.trim(), "30 100");
    exec.input().resize(40, 120).await.unwrap();
    assert_eq!(read_until(&mut exec, "\n").await.trim(), "40 120");
    // Ctrl-C, as from a keyboard.
    exec.input().write("\x03").await.unwrap();
    assert_eq!(read_exit(&mut exec).await.1, 130);
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

    let mut exec = sprite.exec(sh("sleep 1000 & echo $!; wait")).await.unwrap();
    let child = read_until(&mut exec, "\n").await;
    exec.input().signal(Signal::Kill).await.unwrap();
    assert_eq!(read_exit(&mut exec).await.1, 137);
    until_dead(&child).await;
    host.stop().await;
}

#[tokio::test]
async fn a_session_is_left_and_joined_again_while_it_runs() {
    let (_dir, host, sprite) = sprite().await;
    let script = "echo first; while [ ! -e go ]; do sleep 0.01; done; echo second; cat; exit 5";
    let request = sh(script).stdin().detachable().disconnected(Disconnected::RunOn);
    let mut exec = sprite.exec(request).await.unwrap();
    let id = exec.session_id().to_owned();
    read_until(&mut exec, "first").await;
    drop(exec);

    let listed = sprite.sessions().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].id == id && listed[0].is_active && listed[0].command.starts_with("bash -c echo first"));

    let mut exec = sprite.attach(&id).await.unwrap();
    assert_eq!(exec.session_id(), id);
    assert_eq!(
        read_until(&mut exec, "first\n").await,
        "first\n",
        "the history is replayed"
    );
    sprite.write("go", "", None).await.unwrap();
    assert_eq!(
        read_until(&mut exec, "second\n").await,
        "second\n",
        "and live output follows"
    );
    exec.input().write("typed\n").await.unwrap();
    exec.input().eof().await.unwrap();
    assert_eq!(read_exit(&mut exec).await, ("typed\n".into(), 5));

    // It has ended; its history and exit can still be read, as often as one likes.
    for _ in 0..2 {
        let mut exec = sprite.attach(&id).await.unwrap();
        assert_eq!(read_exit(&mut exec).await, ("first\nsecond\ntyped\n".into(), 5));
    }
    assert_eq!(sprite.attach("0123").await.unwrap_err().code(), "sprite_gone");
    host.stop().await;
}

#[tokio::test]
async fn a_command_nobody_waits_for_is_ended_after_its_time() {
    let (_dir, host, sprite) = sprite().await;
    let request = sh("echo $$; sleep 1000").disconnected(Disconnected::RunFor(Duration::from_millis(50)));
    let mut exec = sprite.exec(request).await.unwrap();
    let pid = read_until(&mut exec, "\n").await;
    drop(exec);
    until_dead(&pid).await;
    host.stop().await;
}

#[tokio::test]
async fn a_background_process_does_not_hold_the_exit_back() {
    let (_dir, host, sprite) = sprite().await;
    let mut exec = sprite.exec(sh("sleep 1000 & echo $!")).await.unwrap();
    let (child, code) = read_exit(&mut exec).await;
    assert_eq!(code, 0);
    assert!(
        Path::new(&format!("/proc/{}", child.trim())).exists(),
        "and lives on"
    );
    host.stop().await;
    until_dead(&child).await;
}

#[tokio::test]
async fn kill_reports_its_steps_and_a_deleted_sprite_takes_every_process_along() {
    let (_dir, host, sprite) = sprite().await;
    let script = "setsid sleep 1000 & echo $!; trap '' TERM; while :; do sleep 0.05; done";
    let mut exec = sprite
        .exec(sh(script).disconnected(Disconnected::RunOn))
        .await
        .unwrap();
    let child = read_until(&mut exec, "\n").await;
    let events = sprite.kill(exec.session_id(), Signal::Kill).await.unwrap();
    let kinds: Vec<_> = events
        .iter()
        .map(|event: &KillEvent| event.kind.as_str())
        .collect();
    assert_eq!(kinds, ["signal", "exited", "complete"]);
    assert_eq!(events[2].exit_code, Some(137));
    assert_eq!(read_exit(&mut exec).await.1, 137);
    assert_eq!(
        sprite
            .kill(exec.session_id(), Signal::Term)
            .await
            .unwrap_err()
            .code(),
        "sprite_gone"
    );

    // A process that left the session it was born in goes with the sprite.
    host.sprites.delete("agent-7").await.unwrap();
    until_dead(&child).await;
    host.stop().await;
}

#[tokio::test]
async fn files_survive_a_restart_and_processes_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let host = Running::on(dir.path()).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    run(&sprite, "mkdir deep && echo kept > deep/file").await;
    let request = sh("sleep 1000 & echo $!; exec sleep 1000")
        .detachable()
        .disconnected(Disconnected::RunOn);
    let mut exec = sprite.exec(request).await.unwrap();
    let (id, child) = (exec.session_id().to_owned(), read_until(&mut exec, "\n").await);
    // A second host on the same directory would fight over it.
    let second = host::Host::open(HostConfig::new(dir.path(), TOKEN))
        .await
        .unwrap_err();
    assert_eq!(second.code(), "sprite_host_locked");
    drop((exec, sprite));
    host.stop().await;
    until_dead(&child).await;

    let host = Running::on(dir.path()).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    assert_eq!(&sprite.read("deep/file").await.unwrap()[..], b"kept\n");
    assert_eq!(sprite.attach(&id).await.unwrap_err().code(), "sprite_gone");
    host.stop().await;
}

#[tokio::test]
async fn files_make_the_round_trip_and_commands_see_them_at_the_same_path() {
    let (_dir, host, sprite) = sprite().await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    sprite.write("a/b/bytes", every_byte.clone(), None).await.unwrap();
    assert!(
        sprite.read("/home/sprite/a/b/bytes").await.unwrap() == every_byte,
        "bytes were changed"
    );

    // One file, three paths: relative, as on every host, as the command sees it.
    let real = run(&sprite, "echo hello > hi.txt; realpath hi.txt").await;
    for path in ["hi.txt", "/home/sprite/hi.txt", real.trim()] {
        assert_eq!(&sprite.read(path).await.unwrap()[..], b"hello\n", "{path}");
    }
    assert_eq!(sprite.list("hi.txt").await.unwrap()[0].path, real.trim());

    sprite.write("run.sh", "echo ran", Some(0o755)).await.unwrap();
    sprite.write("run.sh", "echo ran again", None).await.unwrap();
    let entry = &sprite.list("run.sh").await.unwrap()[0];
    assert_eq!(
        (entry.mode.as_str(), entry.size, entry.kind.as_str()),
        ("0755", 14, "file"),
        "the mode is kept"
    );

    sprite.mkdir("new/dir").await.unwrap();
    sprite.mkdir("new/dir").await.unwrap();
    sprite.rename("hi.txt", "new/dir/moved").await.unwrap();
    assert_eq!(names(sprite.list("new/dir").await.unwrap()), ["moved"]);
    assert_eq!(
        names(sprite.list(".").await.unwrap()),
        ["a", "new", "run.sh"],
        "no drafts are left behind"
    );

    let kinds = [
        ("missing", FileErrorKind::NotFound),
        ("a", FileErrorKind::IsDirectory),
        ("run.sh/x", FileErrorKind::NotDirectory),
        ("", FileErrorKind::Invalid),
    ];
    for (path, kind) in kinds {
        match sprite.read(path).await.unwrap_err() {
            SpriteError::File { kind: found, .. } => assert_eq!(found, kind, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(matches!(
        sprite.remove("a").await,
        Err(SpriteError::File {
            kind: FileErrorKind::NotEmpty,
            ..
        })
    ));
    sprite.remove_all("a").await.unwrap();
    sprite.remove("run.sh").await.unwrap();
    assert_eq!(names(sprite.list(".").await.unwrap()), ["new"]);
    host.stop().await;
}

#[tokio::test]
async fn no_file_request_leaves_the_sprite() {
    let (dir, host, sprite) = sprite().await;
    let secret = dir.path().canonicalize().unwrap().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let links = "ln -s ../../../../../secret relative; ln -s / everything; ln -s /etc etc";
    run(&sprite, &format!("ln -s {} absolute; {links}", secret.display())).await;
    let denied = |result: Result<(), SpriteError>, what: &str| match result {
        Err(SpriteError::File {
            kind: FileErrorKind::Denied,
            ..
        }) => {}
        other => panic!("{what}: {other:?}"),
    };
    for path in [
        "absolute",
        "relative",
        "everything/etc/passwd",
        "etc/passwd",
        "../../../../../secret",
        "/../../secret",
    ] {
        denied(sprite.read(path).await.map(drop), path);
        denied(sprite.write(path, "overwritten", None).await, path);
    }
    denied(sprite.list("everything").await.map(drop), "list");
    denied(sprite.rename("etc/passwd", "stolen").await, "rename");
    denied(sprite.remove_all("etc/ssl").await, "remove");
    let outside = sprite
        .exec(ExecRequest::new(["pwd"]).dir("everything"))
        .await
        .unwrap_err();
    assert!(
        matches!(outside, SpriteError::Refused { status: 400, .. }),
        "{outside:?}"
    );
    // The links themselves are the sprite's own.
    sprite.rename("absolute", "renamed").await.unwrap();
    sprite.remove_all("everything").await.unwrap();
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
    host.stop().await;
}

#[tokio::test]
async fn sprites_are_created_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN);
    config.limits.sprites = 60;
    let host = Running::with(config).await;
    let sprites = &host.sprites;
    for number in 0..60 {
        sprites.ensure(&format!("s-{number:02}")).await.unwrap();
    }
    sprites.ensure("s-07").await.unwrap();
    // More than a page.
    let all: Vec<String> = sprites
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|sprite| sprite.name)
        .collect();
    assert_eq!(
        all,
        (0..60).map(|number| format!("s-{number:02}")).collect::<Vec<_>>()
    );
    assert_eq!(sprites.list("s-1").await.unwrap().len(), 10);
    let full = sprites.ensure("one-more").await.unwrap_err();
    assert!(
        matches!(&full, SpriteError::Limited { reason, .. } if reason == "concurrent_sprite_limit_exceeded")
    );
    assert_eq!(full.retry_after(), Some(Duration::from_secs(1)));
    let bad = sprites.ensure("Not A Name").await.unwrap_err();
    assert!(matches!(bad, SpriteError::Refused { status: 400, .. }), "{bad:?}");

    let sprite = sprites.sprite("s-07");
    sprite.write("file", "x", None).await.unwrap();
    sprites.delete("s-07").await.unwrap();
    sprites.delete("s-07").await.unwrap();
    assert_eq!(sprites.get("s-07").await.unwrap_err().code(), "sprite_gone");
    assert_eq!(sprite.exec(sh("true")).await.unwrap_err().code(), "sprite_gone");
    assert_eq!(sprite.read("file").await.unwrap_err().code(), "sprite_gone");
    let sprite = sprites.ensure("s-07").await.unwrap();
    assert!(
        sprite.list(".").await.unwrap().is_empty(),
        "a new sprite of an old name is empty"
    );
    host.stop().await;
}

#[tokio::test]
async fn strangers_and_absent_hosts_are_told_apart() {
    let (_dir, host, sprite) = sprite().await;
    let stranger = Sprites::new(&host.base, "another token").unwrap();
    for error in [
        stranger.list("").await.map(drop).unwrap_err(),
        stranger
            .sprite("agent-7")
            .exec(sh("true"))
            .await
            .map(drop)
            .unwrap_err(),
        stranger.sprite("agent-7").read("x").await.map(drop).unwrap_err(),
    ] {
        let SpriteError::Refused {
            status: 401, reason, ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(reason, "unauthorized");
    }
    let mut exec = sprite.exec(sh("echo up; sleep 1000")).await.unwrap();
    read_until(&mut exec, "up").await;
    host.stop().await;
    // The host ends its commands, and says so before it goes.
    assert_eq!(read_exit(&mut exec).await.1, 137);
    assert_eq!(
        sprite.exec(sh("true")).await.unwrap_err().code(),
        "sprite_unavailable"
    );
    assert_eq!(
        Sprites::new("ftp://example.com", "x").unwrap_err().code(),
        "sprite_refused"
    );
}
