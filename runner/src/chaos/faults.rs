//! Faults: what is done to the parts and the links, when, and for how long. The seed decides all of it.
//!
//! Invariant: a part suffers one fault at a time, and comes back after each; a kill is counted only if it ended a process
//! that was ready.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::OwnedMutexGuard,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Chaos, Progress,
    chance::Chance,
    link::Link,
    part::{Part, Shared},
    stage::Stage,
};
use crate::{cli::Failure, clock};

/// How long a killed part stays away at most: as a supervisor would start it again.
const AWAY: Duration = Duration::from_millis(700);
/// How long a part is held that is not to outlast a lease.
const HELD: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1800));
/// How long a zombie outlasts its lease.
const BEYOND: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1500));

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// `kill -9` of a runner.
    KillRunner,
    /// `kill -9` of an edge.
    KillEdge,
    /// `kill -9` of the sprite host.
    KillSpriteHost,
    /// `kill -9` of the database server.
    KillDatabase,
    /// SIGSTOP of a runner for longer than its lease, then SIGCONT.
    ZombieRunner,
    /// SIGSTOP of an edge for a moment.
    PauseEdge,
    /// SIGSTOP of the sprite host for a moment.
    PauseSpriteHost,
    /// SIGSTOP of the database server for a moment.
    PauseDatabase,
    /// Every connection of a link is dropped.
    CutLink,
    /// A link lets nothing through for a moment.
    HoldLink,
    /// Every runner is restarted by SIGTERM, one after the other.
    RestartRunners,
    /// An edge is restarted by SIGTERM.
    RestartEdge,
}

impl Fault {
    /// What it is called in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillRunner => "kill -9 runner",
            Self::KillEdge => "kill -9 edge",
            Self::KillSpriteHost => "kill -9 sprite host",
            Self::KillDatabase => "kill -9 database server",
            Self::ZombieRunner => "runner stopped beyond its lease",
            Self::PauseEdge => "edge paused",
            Self::PauseSpriteHost => "sprite host paused",
            Self::PauseDatabase => "database server paused",
            Self::CutLink => "connections cut",
            Self::HoldLink => "connections held",
            Self::RestartRunners => "rolling restart of runners",
            Self::RestartEdge => "edge restarted",
        }
    }

    /// Whether it ends a process without a word.
    pub fn is_kill(self) -> bool {
        matches!(
            self,
            Self::KillRunner | Self::KillEdge | Self::KillSpriteHost | Self::KillDatabase
        )
    }
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Struck {
    /// What.
    pub fault: Fault,
    /// The part or link.
    pub target: String,
    /// When it began, in milliseconds since the epoch.
    pub at: i64,
    /// When all was whole again.
    pub until: i64,
}

/// How often each happens, against the others.
fn weights(stage: &Stage) -> Vec<(Fault, u32)> {
    let server = if stage.database.is_some() { 1 } else { 0 };
    vec![
        (Fault::KillRunner, 34),
        (Fault::KillEdge, 20),
        (Fault::KillSpriteHost, 9),
        (Fault::KillDatabase, 9 * server),
        (Fault::ZombieRunner, 4),
        (Fault::PauseEdge, 3),
        (Fault::PauseSpriteHost, 2),
        (Fault::PauseDatabase, 3 * server),
        (Fault::CutLink, 6),
        (Fault::HoldLink, 4),
        (Fault::RestartRunners, 1),
        (Fault::RestartEdge, 2),
    ]
}

/// Strikes until there have been as many kills as asked for; gives every fault, in the order of their beginning.
///
/// # Errors
/// When a part does not come back.
pub async fn strike(
    stage: &Stage,
    chaos: &Chaos,
    mut chance: Chance,
    progress: &mut impl FnMut(Progress),
    began: Instant,
) -> Result<Vec<Struck>, Failure> {
    let weights = weights(stage);
    let mut under_way = JoinSet::new();
    let mut struck = Vec::new();
    let mut kills = 0;
    while kills < chaos.kills {
        sleep(chance.between(chaos.pace / 4, chaos.pace * 7 / 4)).await;
        while let Some(ended) = under_way.try_join_next() {
            struck.push(outcome(ended)?);
        }
        let Some(fault) = chance.pick(&weights) else { break };
        let Some(blow) = aim(stage, chaos, fault, &mut chance) else {
            continue;
        };
        if fault.is_kill() {
            kills += 1;
            progress(Progress::Struck {
                kills,
                of: chaos.kills,
                after: began.elapsed(),
            });
        }
        under_way.spawn(blow.fall(fault));
    }
    while let Some(ended) = under_way.join_next().await {
        struck.push(outcome(ended)?);
    }
    struck.sort_by_key(|struck| struck.at);
    Ok(struck)
}

fn outcome(ended: Result<Result<Struck, Failure>, tokio::task::JoinError>) -> Result<Struck, Failure> {
    ended.map_err(|error| Failure::failed("chaos_part", error))?
}

/// A fault with its target, about to happen.
enum Blow {
    Kill(OwnedMutexGuard<Part>, Duration),
    Stop(OwnedMutexGuard<Part>, Duration),
    Restart(Vec<Shared>),
    Cut(Arc<Link>),
    Hold(Arc<Link>, Duration),
}

/// Finds a target; none while all that could be one are down already.
fn aim(stage: &Stage, chaos: &Chaos, fault: Fault, chance: &mut Chance) -> Option<Blow> {
    let mut one = |parts: &[Shared]| {
        parts
            .get(chance.below(parts.len()))?
            .clone()
            .try_lock_owned()
            .ok()
    };
    let alone = std::slice::from_ref(&stage.host);
    let database = stage.database.as_slice();
    Some(match fault {
        Fault::KillRunner => Blow::Kill(one(&stage.runners)?, chance.between(Duration::ZERO, AWAY)),
        Fault::KillEdge => Blow::Kill(one(&stage.edges)?, chance.between(Duration::ZERO, AWAY)),
        Fault::KillSpriteHost => Blow::Kill(one(alone)?, chance.between(Duration::ZERO, AWAY)),
        Fault::KillDatabase => Blow::Kill(one(database)?, chance.between(Duration::ZERO, AWAY)),
        Fault::ZombieRunner => Blow::Stop(
            one(&stage.runners)?,
            chaos.lease + chance.between(BEYOND.0, BEYOND.1),
        ),
        Fault::PauseEdge => Blow::Stop(one(&stage.edges)?, chance.between(HELD.0, HELD.1)),
        Fault::PauseSpriteHost => Blow::Stop(one(alone)?, chance.between(HELD.0, HELD.1)),
        Fault::PauseDatabase => Blow::Stop(one(database)?, chance.between(HELD.0, HELD.1)),
        Fault::RestartRunners => Blow::Restart(stage.runners.clone()),
        Fault::RestartEdge => Blow::Restart(vec![stage.edges.get(chance.below(stage.edges.len()))?.clone()]),
        Fault::CutLink => Blow::Cut(stage.links.get(chance.below(stage.links.len()))?.clone()),
        Fault::HoldLink => Blow::Hold(
            stage.links.get(chance.below(stage.links.len()))?.clone(),
            chance.between(HELD.0, HELD.1),
        ),
    })
}

impl Blow {
    async fn fall(self, fault: Fault) -> Result<Struck, Failure> {
        let at = clock::now().0;
        let target = match self {
            Self::Kill(mut part, away) => {
                part.kill().await;
                sleep(away).await;
                part.start().await?;
                part.name().to_owned()
            }
            Self::Stop(part, span) => {
                part.stop();
                sleep(span).await;
                part.go_on();
                part.name().to_owned()
            }
            Self::Restart(parts) => {
                for part in &parts {
                    let mut part = part.lock().await;
                    part.terminate().await;
                    part.start().await?;
                }
                "all".to_owned()
            }
            Self::Cut(link) => {
                link.cut();
                link.name().to_owned()
            }
            Self::Hold(link, span) => {
                link.hold();
                sleep(span).await;
                link.let_go();
                link.name().to_owned()
            }
        };
        Ok(Struck {
            fault,
            target,
            at,
            until: clock::now().0,
        })
    }
}
