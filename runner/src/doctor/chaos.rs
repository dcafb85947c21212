//! `roost doctor --chaos`: the kill test on the machine at hand.
//!
//! Invariant: it plays in a temporary directory with processes of its own; a set-up that somebody uses is never touched, and
//! one that is named is refused.

use std::{path::Path, time::Duration};

use crate::{
    all_in_one::own_program,
    chaos::{self, Chaos, Progress, Report},
    cli::Failure,
    config::Config,
    demo,
};

/// A lease short enough that a stopped runner does not hold everybody up.
const LEASE: Duration = Duration::from_secs(2);
/// How long sending may take: longer than all that is held or paused, one after the other.
const SEND_WITHIN: Duration = Duration::from_secs(6);
/// Between two faults, on average.
const PACE: Duration = Duration::from_millis(700);
/// Webhooks a second.
const WEBHOOKS: f64 = 4.0;

/// What to try.
#[derive(Debug, Clone)]
pub struct Trial {
    /// How many processes to kill.
    pub kills: u32,
    /// What decides the faults; one nobody chose without it.
    pub seed: Option<u64>,
    /// Configuration of sprites.
    pub config: Config,
}

/// Runs the trial in `directory`.
///
/// # Errors
/// When the parts can't be started here.
pub async fn examine(
    mut trial: Trial,
    directory: &Path,
    tell: impl FnMut(Progress),
) -> Result<Report, Failure> {
    demo::choose_walls(&mut trial.config, directory, None).await?;
    let chaos = Chaos {
        program: own_program()?,
        directory: directory.to_owned(),
        database: None,
        isolation: trial.config.sprites.isolation,
        kills: trial.kills,
        seed: trial.seed.unwrap_or_else(chaos::some_seed),
        pace: PACE,
        webhooks_per_second: WEBHOOKS,
        lease: LEASE,
        send_within: SEND_WITHIN,
    };
    chaos::run(&chaos, tell).await
}
