//! Keeps awake sprites to their share of memory and disk.
//!
//! Invariant: a sprite over its memory loses its largest process, as on a machine of its own that runs out; one that fills its
//! disk beyond its share is ended. Neither harms another sprite or the host. One process's memory and one file are bounded by
//! the kernel at once (rlimits). What all of them take together the kernel bounds where the sprite has a cgroup with memory; else it
//! is looked at several times a second, so for a moment a sprite can hold more than its share.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use rustix::{
    fs::statvfs,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::{task::spawn_blocking, time};

use super::{
    local::{Keeper, LocalSprite, State},
    store::Store,
    tree,
    usage::disk_usage,
};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A disk is looked through at most this often, and only if it lost room.
const WALK_EVERY: Duration = Duration::from_secs(1);
/// Room that may go before a sprite is looked through again.
const UNNOTICED: u64 = 4 << 20;
/// A sprite is looked through this often even if the disk lost no room.
const WALK_ANYWAY: Duration = Duration::from_secs(30);

/// What was last seen of one sprite's files.
#[derive(Debug, Clone, Copy)]
struct Seen {
    used: u64,
    free: u64,
    at: Instant,
}

/// Watches the sprites of a host for as long as it lives.
pub(super) async fn watch(store: Weak<Store>) {
    let mut seen = HashMap::new();
    let mut ticks = time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(sprites) = store.upgrade().map(|store| store.all()) else {
            return;
        };
        let mut awake = Vec::new();
        // Most sprites of a host are at rest, and cost nothing here.
        for sprite in sprites.into_iter().filter(|sprite| sprite.state() != State::Cold) {
            if let Some((init, keeper)) = sprite.init().await {
                awake.push((sprite, init, keeper));
            }
        }
        seen.retain(|id, _| awake.iter().any(|(sprite, ..)| sprite.record.id == *id));
        if awake.is_empty() {
            continue;
        }
        let kept_here = |(sprite, init, keeper): &(Arc<LocalSprite>, Pid, Keeper)| {
            (*keeper == Keeper::Host).then(|| (Arc::clone(sprite), *init))
        };
        let kept_here: Vec<_> = awake.iter().filter_map(kept_here).collect();
        let looking = spawn_blocking(move || memory(&kept_here)).await;
        if let Err(error) = looking {
            tracing::warn!(%error, "the memory of sprites could not be looked at");
        }
        for (sprite, ..) in &awake {
            disk(sprite, &mut seen).await;
        }
    }
}

/// Ends the largest process of every sprite over its memory. Blocks.
fn memory(awake: &[(Arc<LocalSprite>, Pid)]) {
    if awake.is_empty() {
        return;
    }
    let inits: Vec<Pid> = awake.iter().map(|(_, init)| *init).collect();
    for ((sprite, _), processes) in awake.iter().zip(tree::memory_below(&inits)) {
        let used: u64 = processes.values().sum();
        let share = sprite.memory_share();
        let largest = processes.iter().max_by_key(|(_, bytes)| **bytes);
        let (true, Some((pid, bytes))) = (used > share, largest) else {
            continue;
        };
        let killed = Pid::from_raw(*pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .and_then(|process| pidfd_send_signal(&process, Signal::KILL));
        tracing::warn!(
            sprite = sprite.record.name,
            used,
            share,
            largest = bytes,
            ?killed,
            "a sprite is over its memory"
        );
    }
}

/// Ends a sprite whose files have grown beyond its share.
async fn disk(sprite: &Arc<LocalSprite>, seen: &mut HashMap<String, Seen>) {
    let Ok(room) = statvfs(sprite.root.host_path()) else {
        return;
    };
    let (free, now) = (room.f_bavail * room.f_frsize, Instant::now());
    let before = seen.get(&sprite.record.id).copied();
    let due = before.is_none_or(|before| {
        let age = now - before.at;
        age >= WALK_ANYWAY || (age >= WALK_EVERY && free + UNNOTICED < before.free)
    });
    if !due {
        return;
    }
    let walked = Arc::clone(sprite);
    let used = match spawn_blocking(move || disk_usage(walked.root.host_path())).await {
        Ok(Ok(Some(used))) => used,
        Ok(Ok(None)) => {
            tracing::warn!(
                sprite = sprite.record.name,
                "a sprite keeps its files from being looked at; its processes are ended"
            );
            return sprite.end().await;
        }
        Ok(Err(error)) => return tracing::debug!(%error, "a sprite's files could not be looked through"),
        Err(error) => return tracing::warn!(%error, "a sprite's files could not be looked through"),
    };
    let share = sprite.disk_share();
    let grew = before.is_none_or(|before| used > before.used);
    seen.insert(sprite.record.id.clone(), Seen { used, free, at: now });
    // One that is over its share but does not grow may be just about to clean up.
    if used > share && grew {
        tracing::warn!(
            sprite = sprite.record.name,
            used,
            share,
            "a sprite is over its disk; its processes are ended"
        );
        sprite.end().await;
    }
}
