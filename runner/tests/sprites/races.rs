//! Somebody in the sprite moves things while the host works on them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use roost_runner::sprite::{
    Sprite, SpriteError,
    host::{HostConfig, Isolation},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Running, TOKEN};

const SECRET: &str = "what no sprite may read";

/// Everything about a tree that a request could change.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (meta.permissions().mode(), content));
    }
    found
}

/// One of the requests below `swap`, which is a directory one moment and a symlink out of the sprite the next. What it read.
async fn work(sprite: &Sprite, kind: usize) -> Result<Vec<u8>, SpriteError> {
    let read = match kind {
        0 => sprite.read("swap/file").await?.to_vec(),
        1 => {
            sprite.copy("swap", "copied").await?;
            sprite.read("copied/file").await?.to_vec()
        }
        2 => {
            let listed = sprite.list_all("swap").await?;
            let paths: Vec<String> = listed.into_iter().map(|entry| entry.path).collect();
            paths.join("\n").into_bytes()
        }
        _ => {
            match kind {
                3 => sprite.write("swap/file", "inside", None).await?,
                4 => sprite.write("swap/new/deep/file", "inside", Some(0o666)).await?,
                5 => sprite.set_mode("swap/file", 0o777).await?,
                6 => sprite.copy("ours", "swap/copied").await?,
                7 => sprite.rename("swap/file", "swap/renamed").await?,
                8 => sprite.rename("swap/renamed", "swap/file").await?,
                9 => sprite.remove_all("swap/new").await?,
                _ => sprite.remove_all("swap/copied").await?,
            }
            Vec::new()
        }
    };
    Ok(read)
}

/// Behind walls an absolute link leads to a place inside, so only climbing could lead out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_becomes_a_symlink_meanwhile_leads_nowhere() {
    race(Isolation::Required, Path::new("../../../../../outside")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_without_walls() {
    race(Isolation::None, Path::new("outside")).await;
}

/// Swaps a directory for a link to `target`, as seen from the host's directory or from the sprite's home.
async fn race(isolation: Isolation, target: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.isolation = isolation;
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    let outside = dir.path().canonicalize().unwrap().join("outside");
    fs::create_dir_all(outside.join("new/deep")).unwrap();
    for name in ["file", "new/deep/file", "copied"] {
        fs::write(outside.join(name), SECRET).unwrap();
    }
    let before = picture(&outside);
    sprite.write("swap/file", "inside", None).await.unwrap();
    sprite.write("ours/file", "inside", None).await.unwrap();
    let home = dir.path().join("sprites/agent-7/root/home/sprite");
    let target = match isolation {
        Isolation::Required => target.to_owned(),
        Isolation::None => dir.path().canonicalize().unwrap().join(target),
    };
    symlink(target, home.join("link")).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let (swap, link) = (home.join("swap"), home.join("link"));
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &swap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        }
    });
    let (mut reached, mut refused) = (0, 0);
    let (begun, enough, at_most) = (
        Instant::now(),
        Duration::from_millis(1_500),
        Duration::from_secs(20),
    );
    let met = |reached: u32, refused: u32| reached > 100 && refused > 100;
    while begun.elapsed() < enough || (!met(reached, refused) && begun.elapsed() < at_most) {
        // All at once, and each kind twice.
        for (kind, result) in join_all((0..22).map(|kind| work(&sprite, kind % 11)))
            .await
            .into_iter()
            .enumerate()
        {
            match result {
                Ok(bytes) => {
                    reached += 1;
                    let text = String::from_utf8_lossy(&bytes);
                    assert!(
                        !text.contains(SECRET) && !text.contains("outside"),
                        "{kind} read {text}"
                    );
                }
                Err(SpriteError::File { .. }) => refused += 1,
                Err(other) => panic!("{kind}: {other:?}"),
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapping.join().unwrap();
    assert_eq!(picture(&outside), before, "after {swaps} swaps");
    // Both sides of the race were met, so it was one.
    assert!(
        swaps > 1_000 && met(reached, refused),
        "{swaps} swaps, {reached} reached, {refused} refused"
    );
    host.stop().await;
}
