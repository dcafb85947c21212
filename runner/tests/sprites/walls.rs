//! Sprites behind walls.

use roost_runner::sprite::{ExecOutput, ExecRequest, Sprite};

use crate::fixture::sprite;

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
