//! The host dies while it writes.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use roost_runner::sprite::{FileErrorKind, Sprite, SpriteError, Sprites};
use tokio::time::timeout;

use crate::fixture::TOKEN;

const WRITERS: usize = 4;

/// A host in a process of its own, which dies with this.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start(data: &Path) -> (Host, Sprites) {
    let mut host = Command::new(env!("CARGO_BIN_EXE_roost"))
        .args(["sprites", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("ROOST_SPRITES_TOKEN", TOKEN)
        .env_remove("ROOST_CONFIG")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .trim()
        .strip_prefix("listening on ")
        .unwrap_or_else(|| panic!("{line:?}"));
    (Host(host), Sprites::new(url, TOKEN).unwrap())
}

/// What version `number` of a writer's files holds: of its own length, and recognisable from every byte.
fn content(writer: usize, number: usize) -> Vec<u8> {
    format!("{writer}:{number};").into_bytes().repeat(10_000 + number)
}

/// What a writer was told is written.
#[derive(Debug, Default)]
struct Answered {
    /// How many files of their own names.
    new: usize,
    /// How many versions of one file.
    same: usize,
}

/// Writes a new file, and the same file anew, by turns until the host is gone.
async fn write(sprite: Sprite, writer: usize) -> Answered {
    let mut answered = Answered::default();
    // The client would try again for longer than a test should wait.
    let write = async |name: String, number| {
        let written = sprite.write(&name, content(writer, number), None);
        matches!(timeout(Duration::from_millis(500), written).await, Ok(Ok(())))
    };
    loop {
        if !write(format!("new-{writer}/{}", answered.new), answered.new).await {
            return answered;
        }
        answered.new += 1;
        if !write(format!("same-{writer}"), answered.same).await {
            return answered;
        }
        answered.same += 1;
    }
}

#[tokio::test]
async fn what_was_answered_as_written_is_there_after_the_host_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = 0;
    for round in 0..3 {
        let (host, sprites) = start(dir.path());
        let sprite = sprites.ensure(&format!("agent-{round}")).await.unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(sprite.clone(), writer)))
            .collect();
        // Death comes at no particular moment.
        tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
        drop(host);
        let answered = join_all(writers).await;

        let (_host, sprites) = start(dir.path());
        let sprite = sprites.sprite(format!("agent-{round}"));
        for (writer, answered) in answered.into_iter().enumerate() {
            let answered = answered.unwrap();
            all += answered.new + answered.same;
            for number in 0..answered.new {
                let read = sprite.read(&format!("new-{writer}/{number}")).await.unwrap();
                assert!(
                    read == content(writer, number),
                    "{writer}/{number} has {} bytes",
                    read.len()
                );
            }
            // The one that was under way is whole or not there.
            match sprite.read(&format!("new-{writer}/{}", answered.new)).await {
                Ok(read) => assert!(
                    read == content(writer, answered.new),
                    "a part of {writer}/{}",
                    answered.new
                ),
                Err(SpriteError::File { kind, .. }) => assert_eq!(kind, FileErrorKind::NotFound),
                Err(other) => panic!("{other:?}"),
            }
            if answered.same > 0 {
                let read = sprite.read(&format!("same-{writer}")).await.unwrap();
                let possible = [answered.same - 1, answered.same].map(|number| content(writer, number));
                assert!(
                    possible.iter().any(|content| read == content[..]),
                    "{writer} is torn or old"
                );
            }
        }
    }
    assert!(all > 50, "{all} writes are too few to tell");
}
