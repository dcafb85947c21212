//! Chaos: real processes are killed, stopped, cut off and restarted while webhooks come in, and then it is counted what was
//! lost and what was doubled.
//!
//! Everything here is what a user's set-up is made of: this program's edge, runners and sprite host, each a process of its
//! own; only the model and the channels are stand-ins, in this process. A seed decides which faults come when.
//!
//! Invariant: it works in a directory of its own and touches nothing else; no part outlives it.

mod api;
mod chance;
mod check;
mod faults;
mod history;
mod link;
mod offender;
mod part;
mod plan;
mod points;
mod recovery;
mod report;
mod script;
mod senders;
mod stage;

use std::{
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

pub use check::{Counts, Kind, Offence};
pub use plan::DatabaseServer;
pub use points::{Death, Walk, walk};
pub use report::{Report, Setting};

use crate::{cli::Failure, sprite::host::Isolation};
use chance::Chance;
use senders::{Heed, Sent};
use stage::Stage;

/// What to do.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// The program `roost`.
    pub program: PathBuf,
    /// An empty directory for everything.
    pub directory: PathBuf,
    /// The database server; the file of an edge without it.
    pub database: Option<DatabaseServer>,
    /// Whether sprites have walls.
    pub isolation: Isolation,
    /// How many processes to kill.
    pub kills: u32,
    /// What decides the faults.
    pub seed: u64,
    /// Between two faults, on average.
    pub pace: Duration,
    /// Webhooks a second.
    pub webhooks_per_second: f64,
    /// How long a lease lasts; whole seconds.
    pub lease: Duration,
    /// How long sending a reply may take before its outcome counts as unknown; whole seconds.
    pub send_within: Duration,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything runs.
    Set,
    /// A process was killed.
    Struck {
        /// Kills so far.
        kills: u32,
        /// Kills in all.
        of: u32,
        /// Since the first webhook.
        after: Duration,
    },
    /// The last fault is over; what is under way comes to rest.
    Settling,
    /// Everything rests; the counting begins.
    Counting,
}

impl Progress {
    /// It for people; nothing where a line would be one too many.
    pub fn sentence(&self) -> Option<String> {
        match self {
            Self::Set => Some("Everything runs; now it gets rough.".to_owned()),
            Self::Struck { kills, of, after } if kills % 10 == 0 || kills == of => {
                Some(format!("{kills} of {of} kills after {} s", after.as_secs()))
            }
            Self::Struck { .. } => None,
            Self::Settling => Some("The last fault is over; what is under way comes to rest.".to_owned()),
            Self::Counting => Some("Counting.".to_owned()),
        }
    }
}

/// Does it, and tells how far it is.
///
/// # Errors
/// When a part can't be started or an edge stays away; broken promises are no error but in the report.
pub async fn run(chaos: &Chaos, mut tell: impl FnMut(Progress)) -> Result<Report, Failure> {
    let stage = Stage::set(chaos).await?;
    tell(Progress::Set);
    let mut chance = Chance::new(chaos.seed);
    let (for_senders, for_faults) = (chance.split(), chance.split());
    let (sent, heed) = (Sent::default(), Heed::default());
    let began = Instant::now();
    let sending = senders::send(&stage, chaos.webhooks_per_second, for_senders, &sent, &heed);
    let striking = async {
        // The first runs are under way when the first fault comes.
        sleep(chaos.pace).await;
        let struck = tokio::select! {
            struck = faults::strike(&stage, chaos, for_faults, &mut tell, began) => struck,
            never = watch(&stage, &heed) => Err(never),
        };
        heed.stop.store(true, Ordering::SeqCst);
        let healed = stage.heal().await;
        struck.and_then(|struck| healed.map(|()| struck))
    };
    let (struck, ()) = tokio::join!(striking, sending);
    let struck = struck?;
    let stormy = began.elapsed();
    tell(Progress::Settling);
    let restless = history::settle(&stage).await?;
    let took = began.elapsed();
    tell(Progress::Counting);
    let history = history::read(&stage, sent.all(), struck, restless).await?;
    let mut crashes = 0;
    for part in stage.parts() {
        let mut part = part.lock().await;
        part.notice();
        crashes += part.crashes();
    }
    Ok(Report::of(chaos, &history, stormy, took, crashes))
}

/// Counts what waits, so that the senders do not bury a small machine.
async fn watch(stage: &Stage, heed: &Heed) -> Failure {
    loop {
        match history::moving(stage).await {
            Ok(waiting) => heed.waiting.store(waiting, Ordering::SeqCst),
            Err(failure) => return failure,
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// A seed nobody chose.
pub fn some_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}
