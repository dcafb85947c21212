//! Checkpoints: a sprite's files as they were at a moment, to look back at and to go back to.
//!
//! A checkpoint is a *manifest* of all entries and *objects*, immutable copies of regular files, shared by all checkpoints
//! of the sprite. A file that has not changed since the last known state is not even opened, so a checkpoint of an unchanged
//! tree is one walk and one manifest. Objects share their blocks with the sprite's files where the file system can clone.
//!
//! Invariant: a checkpoint is visible only whole; nothing but the host's own requests changes a sprite while one is taken or
//! restored; checkpoints live and die with their sprite.

mod apply;
mod capture;
mod copy;
mod cut;
mod decode;
mod descent;
mod disk;
mod encode;
mod endpoint;
mod info;
mod manifest;
mod still;
mod sweep;
#[cfg(test)]
mod tests;
mod vault;
mod work;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::http::StatusCode;
use jiff::Timestamp;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(super) use endpoint::{create, list, remove, restore, show};
pub(super) use work::Reason;

use self::{capture::Found, info::Info, still::Still, vault::Vault};
use super::{Limits, error::ApiError, local::LocalSprite};
use crate::sprite::checkpoint::{CURRENT, Checkpoint};

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    #[error("checkpoint {id} does not exist; list the sprite's checkpoints")]
    NotFound { id: String },
    #[error("checkpoint {id} is damaged and can't be restored; pick another one")]
    Damaged { id: String },
    #[error("a restore of checkpoint {id} is not finished; restore it again first")]
    InUse { id: String },
    #[error("the sprite has {limit} checkpoints, as many as it may; delete some first")]
    Limit { limit: usize },
    #[error("the sprite is being deleted or its host is shutting down")]
    Gone,
    #[error("the checkpoint could not be read or written: {0}")]
    Storage(#[from] io::Error),
}

impl From<rustix::io::Errno> for CheckpointError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Storage(errno.into())
    }
}

impl From<CheckpointError> for ApiError {
    fn from(error: CheckpointError) -> Self {
        let message = error.to_string();
        match error {
            CheckpointError::NotFound { .. } => {
                Self::new(StatusCode::NOT_FOUND, "checkpoint_not_found", message)
            }
            CheckpointError::Damaged { .. } => Self::new(StatusCode::CONFLICT, "checkpoint_damaged", message),
            CheckpointError::InUse { .. } => Self::new(StatusCode::CONFLICT, "checkpoint_in_use", message),
            CheckpointError::Limit { limit } => Self::limit("checkpoint_limit_exceeded", message, limit),
            CheckpointError::Gone => Self::gone(&message),
            CheckpointError::Storage(source) => Self::internal("the checkpoint failed", &source),
        }
    }
}

/// A checkpoint that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) checkpoint: Checkpoint,
    found: Found,
}

/// The checkpoints of one sprite.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// The sprite's directory, in which its root is.
    home: PathBuf,
    /// Held by the one that takes, restores or drops a checkpoint.
    busy: Arc<Mutex<()>>,
}

impl Checkpoints {
    /// Of the sprite in that directory.
    pub(super) fn new(home: PathBuf) -> Self {
        Self {
            home,
            busy: Arc::default(),
        }
    }

    async fn busy(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.busy).lock_owned().await
    }
}

/// Finishes or discards what a host that died was doing with the sprite in that directory. Blocks. A restore that can't be
/// finished stays written down: the sprite says so by the health of its present state, and another restore mends it.
pub(super) fn recover(home: &Path) {
    if let Err(error) = work::recover(home) {
        tracing::error!(%error, sprite = %home.display(), "a restore that was cut short could not be finished");
    }
}

/// Takes a checkpoint. To be run to its end: a dropped future may leave a blocking step at work.
///
/// The sprite stands still for a walk over its files and little more: when much has to be copied, most of that is done
/// before, while it goes on.
///
/// Whoever is about to do something risky to a sprite (a restore does, by itself) takes one with [`Reason::Before`]: the
/// sprite keeps a few of those, and the oldest goes.
pub(super) async fn take(
    sprite: &Arc<LocalSprite>,
    reason: Reason,
    limits: &Limits,
) -> Result<Taken, CheckpointError> {
    let _busy = sprite.checkpoints.busy().await;
    let taken = step(
        sprite,
        reason.clone(),
        limits.clone(),
        |home, reason, limits, still| work::take_at_once(&home, &reason, &limits, still),
    );
    let (info, found) = match taken.await? {
        Some(taken) => taken,
        None => {
            let ahead = step(sprite, reason.clone(), limits.clone(), |home, _, _, still| {
                work::copy_ahead(&home, still)
            });
            // A tree that changes a lot meanwhile can't be walked; then all of it is copied while it stands still.
            if let Err(error) = ahead.await {
                tracing::debug!(%error, sprite = sprite.record.name, "nothing was copied ahead");
            }
            let rest = step(sprite, reason, limits.clone(), |home, reason, limits, still| {
                work::take(&home, &reason, &limits, still, None)
            });
            rest.await?
        }
    };
    Ok(Taken {
        checkpoint: info.wire(),
        found,
    })
}

/// Does some work on a sprite that stands still for as long as the work holds that.
async fn step<T: Send + 'static>(
    sprite: &Arc<LocalSprite>,
    reason: Reason,
    limits: Limits,
    work: impl FnOnce(PathBuf, Reason, Limits, Still) -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, CheckpointError> {
    let shut = sprite.still().await;
    check_open(sprite)?;
    let still = Still {
        frozen: sprite.freeze().await?,
        _shut: shut,
    };
    let home = sprite.checkpoints.home.clone();
    blocking(move || work(home, reason, limits, still)).await
}

/// Ends everything that runs in the sprite and puts its files back.
async fn put_back(
    sprite: &Arc<LocalSprite>,
    id: String,
    limits: &Limits,
) -> Result<apply::Done, CheckpointError> {
    let busy = sprite.checkpoints.busy().await;
    let shut = sprite.still().await;
    check_open(sprite)?;
    sprite.end().await;
    let (home, limits) = (sprite.checkpoints.home.clone(), limits.clone());
    blocking(move || {
        let _held = (busy, shut);
        work::restore(&home, &id, &limits)
    })
    .await
}

/// A sprite that is being deleted gives its directory's name to whoever takes it next.
fn check_open(sprite: &LocalSprite) -> Result<(), CheckpointError> {
    sprite.sessions.check_open().map_err(|_| CheckpointError::Gone)
}

async fn drop_one(sprite: &Arc<LocalSprite>, id: String) -> Result<(), CheckpointError> {
    let busy = sprite.checkpoints.busy().await;
    check_open(sprite)?;
    let home = sprite.checkpoints.home.clone();
    blocking(move || {
        let _busy = busy;
        work::remove(&home, &id)
    })
    .await
}

/// All checkpoints, the newest first, after the present state.
async fn all(sprite: &LocalSprite) -> Result<Vec<Info>, CheckpointError> {
    let home = sprite.checkpoints.home.clone();
    blocking(move || {
        let Some(vault) = Vault::open(&home)? else {
            return Ok(vec![current(&vault::State::default(), false)]);
        };
        let mut found = vec![current(&vault.state()?, vault.intent()?.is_some())];
        found.extend(vault.list()?);
        Ok(found)
    })
    .await
}

fn current(state: &vault::State, is_torn: bool) -> Info {
    Info {
        id: CURRENT.to_owned(),
        create_time: Timestamp::now().to_string(),
        source_id: state.parent.clone(),
        history: state.history.clone(),
        whole: true,
        is_torn,
        ..Info::default()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, CheckpointError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CheckpointError::Storage(io::Error::other(error)))?
}
