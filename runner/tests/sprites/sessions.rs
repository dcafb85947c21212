//! Sessions that outlive their clients, and how they end.

use std::time::Duration;

use roost_runner::sprite::{Disconnected, KillEvent, Signal};

use crate::fixture::{long, read_exit, read_until, sh, sprite, until_dead};

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
    let mark = long();
    let request = sh(&format!("echo begun; sleep {mark}"));
    let request = request.disconnected(Disconnected::RunFor(Duration::from_millis(50)));
    let mut exec = sprite.exec(request).await.unwrap();
    read_until(&mut exec, "begun").await;
    drop(exec);
    until_dead(&mark).await;
    host.stop().await;
}

#[tokio::test]
async fn kill_reports_its_steps_and_a_deleted_sprite_takes_every_process_along() {
    let (_dir, host, sprite) = sprite().await;
    let mark = long();
    let script = format!("setsid sleep {mark} & echo begun; trap '' TERM; while :; do sleep 0.05; done");
    let mut exec = sprite
        .exec(sh(&script).disconnected(Disconnected::RunOn))
        .await
        .unwrap();
    read_until(&mut exec, "begun").await;
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
    until_dead(&mark).await;
    host.stop().await;
}
