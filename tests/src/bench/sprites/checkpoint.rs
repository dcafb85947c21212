//! Checkpoints of a tree of 1 GiB: the first, one where nothing changed, and restores.

use std::{
    fs::{self, File},
    future::Future,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use roost_runner::sprite::{
    Sprites,
    host::{self, HostConfig},
};

use crate::bench::ms;

const DIRECTORIES: usize = 400;
const FILES_EACH: usize = 50;
const FILE_BYTES: usize = (1 << 30) / (DIRECTORIES * FILES_EACH);
const TIMES: usize = 7;
/// Every so-manieth file is changed: 1 %.
const CHANGED: usize = 100;

pub(super) async fn run() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let config = HostConfig::new(directory.path(), "bench", crate::roost::binary());
    let serving = tokio::spawn(host::serve(listener, config, std::future::pending()));
    let sprite = Sprites::new(&base, "bench")
        .expect("an address")
        .ensure("bench")
        .await
        .expect("a sprite");
    let tree = directory.path().join("sprites/bench/root/home/sprite/tree");
    plant(&tree);
    let copy = directory.path().join("copy");
    let began = Instant::now();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&tree)
        .arg(&copy)
        .status()
        .expect("cp");
    assert!(copied.success());
    sync(&copy);
    let plain = began.elapsed();
    fs::remove_dir_all(&copy).expect("removed");

    let first = once(sprite.checkpoint(Some("first"))).await;
    let unchanged = median(async || once(sprite.checkpoint(None)).await).await;
    let same = median(async || once(sprite.restore("v1")).await).await;
    let changed = median(async || {
        change(&tree);
        once(sprite.restore("v1")).await
    })
    .await;
    println!(
        "  checkpoint of 1 GiB in {} files: first {} (cp -a and sync: {}), unchanged {}",
        DIRECTORIES * FILES_EACH,
        ms(first),
        ms(plain),
        ms(unchanged)
    );
    println!(
        "  restore of it, with a checkpoint of what is given up: nothing changed {}, 1 % changed {}",
        ms(same),
        ms(changed)
    );
    serving.abort();
}

fn plant(tree: &Path) {
    let mut block = vec![7; FILE_BYTES];
    for directory in 0..DIRECTORIES {
        let path = tree.join(format!("{directory}"));
        fs::create_dir_all(&path).expect("a directory");
        for file in 0..FILES_EACH {
            block[..8].copy_from_slice(&((directory * FILES_EACH + file) as u64).to_le_bytes());
            let mut file = File::create(path.join(format!("{file}"))).expect("a file");
            file.write_all(&block).expect("written");
        }
    }
    sync(tree);
}

fn change(tree: &Path) {
    for number in (0..DIRECTORIES * FILES_EACH).step_by(CHANGED) {
        let path = tree.join(format!("{}/{}", number / FILES_EACH, number % FILES_EACH));
        let file = File::options().write(true).open(path).expect("a file");
        file.write_at(b"changed", 8).expect("written");
    }
}

/// What was written so far is on disk, so that nobody else's measure pays for it.
fn sync(at: &Path) {
    let status = Command::new("sync").arg("-f").arg(at).status().expect("sync");
    assert!(status.success());
}

async fn once<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> Duration {
    let began = Instant::now();
    work.await.expect("done");
    began.elapsed()
}

async fn median(mut work: impl AsyncFnMut() -> Duration) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(work().await);
    }
    times.sort_unstable();
    times[TIMES / 2]
}
