//! Sweeping up: deletes the sprites of runs that have ended, left behind by runners that died.
//!
//! Invariant: only a sprite whose name says which run it was made for, and only when the edge says that this run has ended;
//! a live run's, an agent's or anybody else's is never touched.

use std::time::Duration;

use roost_shared::{
    RunId,
    sprite::{RUN_PREFIX, run_of},
};

use crate::{
    edge_client::{EdgeClient, EdgeError},
    sprite::{SpriteError, Sprites, retry::jittered},
};

/// The least time between two looks of a runner, up to twice as much by chance; all runners look.
const EVERY: Duration = Duration::from_secs(300);
/// Runs the edge is asked for at once.
const AT_ONCE: usize = 500;

/// Why it was not swept to the end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SweepError {
    /// The sprite host.
    #[error(transparent)]
    Sprite(#[from] SpriteError),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] EdgeError),
}

impl SweepError {
    /// Stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Sprite(error) => error.code(),
            Self::Edge(error) => error.code(),
        }
    }
}

/// Deletes what is left over, once; how many sprites that were.
///
/// # Errors
/// When the sprite host or the edge says no or is away; what was not deleted is found the next time.
pub async fn sweep(sprites: &Sprites, edge: &EdgeClient) -> Result<usize, SweepError> {
    let listed = sprites.list(RUN_PREFIX).await?;
    let found: Vec<(RunId, String)> = listed
        .into_iter()
        .filter_map(|sprite| Some((run_of(&sprite.name)?, sprite.name)))
        .collect();
    let mut deleted = 0;
    for some in found.chunks(AT_ONCE) {
        let ended = edge.ended(some.iter().map(|(run, _)| *run).collect()).await?;
        for (_, sprite) in some.iter().filter(|(run, _)| ended.contains(run)) {
            sprites.delete(sprite).await?;
            tracing::info!(
                sprite,
                "deleted: its run has ended, and its runner did not get to it"
            );
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Sweeps now and then, until it is dropped.
pub async fn sweep_for_ever(sprites: Sprites, edge: EdgeClient) {
    loop {
        tokio::time::sleep(jittered(EVERY)).await;
        if let Err(error) = sweep(&sprites, &edge).await {
            tracing::debug!(code = error.code(), "not swept: {error}");
        }
    }
}
