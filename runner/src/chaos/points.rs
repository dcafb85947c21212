//! The walk through all fail points: each is armed in turn while jobs come in, a process dies at it and is started again, or
//! falls asleep at it and wakes when everybody has gone on without it; and in the end the checker counts as always.
//!
//! Invariant: a point at which nothing ever died is told, so that a point nobody reaches any more is found.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use roost_shared::fail_point::{FailPoint, SLEEP};
use tokio::time::{Instant, sleep};

use super::{
    Chaos, Report, history,
    senders::{Heed, Sent},
    stage::Stage,
};
use super::{chance::Chance, senders};
use crate::cli::Failure;

/// How long a point may take until somebody dies at it.
const REACHED_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How much longer than its lease a runner sleeps.
const OVERSLEPT: Duration = Duration::from_millis(700);

/// What happens to a process at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It ends at once.
    Crash,
    /// It stops for longer than anybody waits for it, and then goes on as if nothing had been.
    Sleep,
}

impl Death {
    fn order(self) -> &'static str {
        match self {
            Self::Crash => "",
            Self::Sleep => SLEEP,
        }
    }
}

/// What the walk came to.
#[derive(Debug)]
pub struct Walk {
    /// The table; every death is one of the processes that ended by themselves.
    pub report: Report,
    /// Points at which nothing died.
    pub never_reached: Vec<FailPoint>,
}

/// Walks through all fail points with a program that has them.
///
/// # Errors
/// When a part can't be started, or an edge stays away.
pub async fn walk(chaos: &Chaos, death: Death) -> Result<Walk, Failure> {
    let armed = directory(chaos);
    let unusable = |error: io::Error| Failure::failed("chaos_directory", error);
    fs::create_dir_all(&armed).map_err(unusable)?;
    let stage = Stage::set(chaos).await?;
    let (sent, heed) = (Sent::default(), Heed::default());
    let began = Instant::now();
    let sending = senders::send(
        &stage,
        chaos.webhooks_per_second,
        Chance::new(chaos.seed),
        &sent,
        &heed,
    );
    let dying = async {
        let mut never_reached = Vec::new();
        for point in FailPoint::ALL {
            let file = armed.join(point.name());
            fs::write(&file, death.order()).map_err(unusable)?;
            if !died(&stage, &file).await? {
                // Nobody is to die at it later, when it is another's turn.
                fs::remove_file(&file).map_err(unusable)?;
                never_reached.push(*point);
            }
            if death == Death::Sleep {
                sleep(sleeps(chaos, *point)).await;
                for part in stage.parts() {
                    part.lock().await.go_on();
                }
            }
        }
        Ok::<_, Failure>(never_reached)
    };
    let dying = async {
        let outcome = dying.await;
        heed.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        outcome
    };
    let (never_reached, ()) = tokio::join!(dying, sending);
    let never_reached = never_reached?;
    let stormy = began.elapsed();
    stage.heal().await?;
    let restless = history::settle(&stage).await?;
    let history = history::read(&stage, sent.all(), Vec::new(), restless).await?;
    let mut crashes = 0;
    for part in stage.parts() {
        crashes += part.lock().await.crashes();
    }
    Ok(Walk {
        report: Report::of(chaos, &history, stormy, began.elapsed(), crashes),
        never_reached,
    })
}

/// Long enough that others have taken over by then.
fn sleeps(chaos: &Chaos, point: FailPoint) -> Duration {
    match point {
        // Its claim has run out, its message was looked for twice and sent again.
        FailPoint::ReplyClaimed => chaos.send_within * 9 / 2,
        _ => chaos.lease + OVERSLEPT,
    }
}

/// Where points are armed.
pub(super) fn directory(chaos: &Chaos) -> PathBuf {
    chaos.directory.join("fail-points")
}

/// Waits until somebody died at the point, and starts whoever is down.
async fn died(stage: &Stage, file: &Path) -> Result<bool, Failure> {
    let until = Instant::now() + REACHED_WITHIN;
    let hit = file.with_extension("hit");
    loop {
        let is_hit = hit.exists();
        for part in stage.parts() {
            // A part that is not down is left alone by this.
            part.lock().await.start().await?;
        }
        if is_hit {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(LOOK_AGAIN).await;
    }
}
