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
mod disk;
mod encode;
mod endpoint;
mod info;
#[cfg(test)]
mod law;
mod manifest;
mod room;
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

use self::{
    capture::Found,
    info::Info,
    room::{Used, is_no_room},
    still::Still,
    vault::Vault,
    work::Bounds,
};
use super::{Limits, error::ApiError, heir, local::LocalSprite};
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
    #[error(
        "the copies for it need more than the {mb} MiB that the sprite's checkpoints may take; delete some first"
    )]
    Room { mb: u64 },
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
            CheckpointError::Room { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "checkpoint_room_exceeded",
                message,
            ),
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
    used: Used,
}

impl Checkpoints {
    /// Of the sprite in that directory.
    pub(super) fn new(home: PathBuf) -> Self {
        Self {
            home,
            busy: Arc::default(),
            used: Used::default(),
        }
    }

    fn bounds(&self, limits: &Limits) -> Bounds {
        Bounds {
            limits: limits.clone(),
            used: self.used.clone(),
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
    let bounds = sprite.checkpoints.bounds(limits);
    let home = &sprite.checkpoints.home;
    loop {
        // Counted here if it has to be, and not while the sprite stands still.
        let (counted, at) = (bounds.clone(), home.clone());
        blocking(move || Ok(counted.room(&at)?)).await?;
        match take_with(sprite, &reason, &bounds).await {
            Err(CheckpointError::Storage(error)) if is_no_room(&error) => {
                make_room(home, None, &bounds).await?;
            }
            taken => return taken,
        }
    }
}

async fn take_with(
    sprite: &Arc<LocalSprite>,
    reason: &Reason,
    bounds: &Bounds,
) -> Result<Taken, CheckpointError> {
    let taken = step(sprite, reason, bounds, |home, reason, bounds, still| {
        work::take_at_once(&home, &reason, &bounds, still)
    });
    let (info, found) = match taken.await? {
        Some(taken) => taken,
        None => {
            let ahead = step(sprite, reason, bounds, |home, _, bounds, still| {
                work::copy_ahead(&home, &bounds, still)
            });
            // A tree that changes a lot meanwhile can't be walked; then all of it is copied while it stands still.
            if let Err(error) = ahead.await {
                tracing::debug!(%error, sprite = sprite.record.name, "nothing was copied ahead");
            }
            let rest = step(sprite, reason, bounds, |home, reason, bounds, still| {
                work::take(&home, &reason, &bounds, still, None)
            });
            rest.await?
        }
    };
    Ok(Taken {
        checkpoint: info.wire(),
        found,
    })
}

/// Drops what may go for a checkpoint that has no room.
async fn make_room(home: &Path, kept: Option<String>, bounds: &Bounds) -> Result<(), CheckpointError> {
    let (home, used) = (home.to_owned(), bounds.used.clone());
    if blocking(move || work::make_room(&home, kept.as_deref(), &used)).await? {
        return Ok(());
    }
    let mb = bounds.limits.checkpoint_bytes >> 20;
    Err(CheckpointError::Room { mb })
}

/// Does some work on a sprite that stands still for as long as the work holds that.
async fn step<T: Send + 'static>(
    sprite: &Arc<LocalSprite>,
    reason: &Reason,
    bounds: &Bounds,
    work: impl FnOnce(PathBuf, Reason, Bounds, Still) -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, CheckpointError> {
    let shut = sprite.still().await;
    check_open(sprite)?;
    let still = Still {
        frozen: sprite.freeze().await?,
        _shut: shut,
    };
    let home = sprite.checkpoints.home.clone();
    let (reason, bounds) = (reason.clone(), bounds.clone());
    blocking(move || work(home, reason, bounds, still)).await
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
    let bounds = sprite.checkpoints.bounds(limits);
    let home = &sprite.checkpoints.home;
    // Shared with the work: what has begun goes on when the one who asked leaves.
    let held = Arc::new((busy, shut));
    loop {
        let (at, target, bounded) = (home.clone(), id.clone(), bounds.clone());
        let record = sprite.record.clone();
        let holding = Arc::clone(&held);
        let restored = blocking(move || {
            let _held = holding;
            let done = work::restore(&at, &target, &bounded)?;
            heir::settle(&at.join("root"), &record)?;
            Ok(done)
        });
        match restored.await {
            Err(CheckpointError::Storage(error)) if is_no_room(&error) => {
                make_room(home, Some(id.clone()), &bounds).await?;
            }
            restored => return restored,
        }
    }
}

/// A sprite that is being deleted gives its directory's name to whoever takes it next.
fn check_open(sprite: &LocalSprite) -> Result<(), CheckpointError> {
    sprite.sessions.check_open().map_err(|_| CheckpointError::Gone)
}

async fn drop_one(sprite: &Arc<LocalSprite>, id: String) -> Result<(), CheckpointError> {
    let busy = sprite.checkpoints.busy().await;
    check_open(sprite)?;
    let (home, used) = (sprite.checkpoints.home.clone(), sprite.checkpoints.used.clone());
    blocking(move || {
        let _busy = busy;
        work::remove(&home, &id, &used)
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
