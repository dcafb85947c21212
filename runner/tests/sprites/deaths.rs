//! The host dies while it writes.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use roost_runner::sprite::{FileErrorKind, Sprite, SpriteError, Sprites};
use tokio::{sync::watch, time::timeout};

use crate::fixture::TOKEN;

const WRITERS: usize = 4;
/// Answered writes after which the host dies, round by round.
const DEATHS: [usize; 3] = [17, 24, 31];
/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(100);

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

/// What the writers and the host's death know of each other.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    /// Writes that were answered, of all writers.
    answered: usize,
    is_dead: bool,
}

/// Writes a new file, and the same file anew, by turns until the host is gone.
async fn write(sprite: Sprite, writer: usize, fate: watch::Sender<Fate>) -> Answered {
    let mut answered = Answered::default();
    let write = async |name: String, number| {
        let mut death = fate.subscribe();
        let written = tokio::select! {
            written = sprite.write(&name, content(writer, number), None) => written.is_ok(),
            // The client would try again for longer than a test should wait.
            _ = death.wait_for(|fate| fate.is_dead) => false,
        };
        fate.send_modify(|fate| fate.answered += usize::from(written));
        assert!(
            written || fate.borrow().is_dead,
            "{name} is refused by a host that lives"
        );
        written
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
    for (round, enough) in DEATHS.into_iter().enumerate() {
        let (host, sprites) = start(dir.path());
        let sprite = sprites.ensure(&format!("agent-{round}")).await.unwrap();
        let (fate, mut seen) = watch::channel(Fate::default());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(sprite.clone(), writer, fate.clone())))
            .collect();
        // The other writers are somewhere in the middle then.
        let enough = seen.wait_for(|fate| fate.answered >= enough);
        timeout(PATIENCE, enough).await.expect("the host writes").unwrap();
        drop(host);
        fate.send_modify(|fate| fate.is_dead = true);
        let answered = join_all(writers).await;

        let (_host, sprites) = start(dir.path());
        let sprite = sprites.sprite(format!("agent-{round}"));
        for (writer, answered) in answered.into_iter().enumerate() {
            let answered = answered.unwrap();
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
}
