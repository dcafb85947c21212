//! Files over the API: the round trip, paths, and no way out.

use roost_runner::sprite::{
    ExecRequest, FileErrorKind, SpriteError,
    host::{HostConfig, Isolation},
};

use crate::fixture::{Running, TOKEN, names, run, sprite};

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
async fn no_file_request_leaves_a_sprite_without_walls() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.isolation = Isolation::None;
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
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
