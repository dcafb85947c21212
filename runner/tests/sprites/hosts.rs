//! Hosts: sprites come and go, files outlive a restart, strangers stay out.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use roost_runner::sprite::{
    Disconnected, SpriteError, Sprites,
    host::{self, HostConfig},
};

use crate::fixture::{Running, TOKEN, long, read_exit, read_until, run, sh, sprite, until_dead};

#[tokio::test]
async fn files_survive_a_restart_and_processes_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let host = Running::on(dir.path()).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    run(&sprite, "mkdir deep && echo kept > deep/file").await;
    let mark = long();
    let request = sh(&format!("sleep {mark} & echo begun; exec sleep {mark}"))
        .detachable()
        .disconnected(Disconnected::RunOn);
    let mut exec = sprite.exec(request).await.unwrap();
    let id = exec.session_id().to_owned();
    read_until(&mut exec, "begun").await;
    // A second host on the same directory would fight over it.
    let config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    let second = host::Host::open(config, ([127, 0, 0, 1], 0).into())
        .await
        .unwrap_err();
    assert_eq!(second.code(), "sprite_host_locked");
    drop((exec, sprite));
    host.stop().await;
    until_dead(&mark).await;

    let host = Running::on(dir.path()).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    assert_eq!(&sprite.read("deep/file").await.unwrap()[..], b"kept\n");
    assert_eq!(sprite.attach(&id).await.unwrap_err().code(), "sprite_gone");
    host.stop().await;
}

/// Its home is the sprite's to replace; a host that starts, perhaps as root, must not follow what stands there.
#[tokio::test]
async fn a_home_that_became_a_link_to_the_host_changes_nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().canonicalize().unwrap().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::set_permissions(&outside, Permissions::from_mode(0o700)).unwrap();
    let data = dir.path().join("data");
    let host = Running::on(&data).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    let script = format!(
        "cd /tmp && mv /home/sprite /home/old && ln -s {} /home/sprite",
        outside.display()
    );
    run(&sprite, &script).await;
    let before = std::fs::metadata(&outside).unwrap();
    host.stop().await;

    let host = Running::on(&data).await;
    let link = data.join("sprites/agent-7/root/home/sprite");
    assert_eq!(std::fs::read_link(link).unwrap(), outside, "the link is there");
    let after = std::fs::metadata(&outside).unwrap();
    assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));
    host.stop().await;
}

#[tokio::test]
async fn sprites_are_created_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
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
