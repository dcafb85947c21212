//! Sprites behind walls.

use std::os::unix::fs::PermissionsExt;

use roost_runner::sprite::{ExecOutput, ExecRequest, Sprite, host::HostConfig};

use crate::fixture::{Running, TOKEN, sprite};

async fn sh(sprite: &Sprite, script: &str) -> (i32, String) {
    let exec = sprite.exec(ExecRequest::new(["sh", "-c", script])).await.unwrap();
    let ExecOutput {
        exit_code,
        stdout,
        stderr,
        ..
    } = exec.output(1 << 20).await.unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (exit_code, said.concat())
}

#[tokio::test]
async fn a_command_sees_its_own_world_and_no_other() {
    let (_dir, host, sprite) = sprite().await;
    let (_, said) = sh(&sprite, "pwd; id -un; hostname; ls /home; echo $HOME").await;
    assert_eq!(said, "/home/sprite\nsprite\nagent-7\nsprite\n/home/sprite\n");
    let (_, ids) = sh(&sprite, "ps -eo pid= | sort -n | head -1; cat /proc/self/status").await;
    assert!(ids.trim_start().starts_with("1\n"), "{ids}");
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(ids.contains(line), "{line} in {ids}");
    }
    // The API names what a command sees, and looks into the host's directories only where it is asked to.
    let root: Vec<_> = sprite.list("/").await.unwrap();
    let root: Vec<_> = root.iter().map(|entry| entry.path.as_str()).collect();
    assert!(
        root.is_sorted()
            && ["/home", "/tmp", "/usr", "/var"]
                .iter()
                .all(|path| root.contains(path)),
        "{root:?}"
    );
    assert!(!root.contains(&"/boot") && !root.contains(&"/root"), "{root:?}");
    // Both sides see one file, and the command may change what the API wrote.
    sprite.write("notes/a", "from outside", None).await.unwrap();
    let (exit, said) = sh(
        &sprite,
        "cat notes/a && echo ' and inside' >> notes/a && mv notes/a notes/b",
    )
    .await;
    assert_eq!((exit, said.as_str()), (0, "from outside"));
    assert_eq!(
        &sprite.read("/home/sprite/notes/b").await.unwrap()[..],
        b"from outside and inside\n"
    );
    host.stop().await;
}

#[tokio::test]
async fn policies_of_privileges_and_memory_hold_for_what_runs() {
    let (_dir, host, sprite) = sprite().await;
    let trace = "python3 -c 'import ctypes; exit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)'";
    let hog = "python3 -c 'bytearray(200 << 20)'";
    assert_eq!(sh(&sprite, trace).await.0, 0, "a debugger works");
    assert_eq!(sh(&sprite, hog).await.0, 0);
    for (policy, body) in [
        ("privileges", r#"{"profile": "minimal"}"#),
        ("resources", r#"{"memory": {"limit_mb": 64}}"#),
    ] {
        let url = format!("{}/v1/sprites/agent-7/policy/{policy}", host.base);
        let posting = reqwest::Client::new().post(url).bearer_auth(TOKEN);
        let posting = posting.header("content-type", "application/json").body(body);
        assert_eq!(posting.send().await.unwrap().status(), 204);
    }
    // From the next waking on.
    let restart = format!("{}/v1/sprites/agent-7/restart", host.base);
    let restarted = reqwest::Client::new().post(restart).bearer_auth(TOKEN);
    assert!(restarted.send().await.unwrap().status().is_success());
    assert_ne!(sh(&sprite, trace).await.0, 0, "not even itself");
    assert_ne!(sh(&sprite, hog).await.0, 0, "200 MiB of 64");
    host.stop().await;
}

#[tokio::test]
async fn what_the_host_shares_is_seen_and_stays_as_it_is() {
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(shared.path().join("tool"), "of the host").unwrap();
    let path = shared.path().canonicalize().unwrap().display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.shared = vec![path.clone()];
    config.idle_after = std::time::Duration::from_millis(100);
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    assert_eq!(
        sh(&sprite, &format!("cat {path}/tool")).await,
        (0, "of the host".into())
    );
    assert_ne!(
        sh(&sprite, &format!("touch {path}/more || echo x >> {path}/tool"))
            .await
            .0,
        0
    );

    // At rest after a while, and woken by the next command.
    let long = crate::fixture::long();
    sh(&sprite, &format!("sleep {long} >/dev/null 2>&1 & exit 0")).await;
    crate::fixture::until_dead(&long).await;
    assert_eq!(sh(&sprite, "echo again").await, (0, "again\n".into()));
    host.stop().await;
}
