//! The room that a sprite's checkpoints may take on the disk, and how much of it is left.
//!
//! Invariant: what is known of it is what was counted on the disk, plus what was copied since; after anything was freed, or
//! went wrong, it is counted anew.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::sprite::host::usage::disk_usage;

/// More would have to be copied than there is room for.
#[derive(Debug, thiserror::Error)]
#[error("the copies of files need more room than the sprite's checkpoints may take")]
pub(super) struct NoRoom;

/// Whether something failed for want of room.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<NoRoom>())
}

/// What one sprite's checkpoints take, in bytes; `None` while that is not known. Clones are of the same sprite.
#[derive(Debug, Clone, Default)]
pub(super) struct Used(Arc<Mutex<Option<u64>>>);

impl Used {
    /// What is left of `share` for the sprite in `home`. Blocks; longer if it has to be counted.
    pub(super) fn left(&self, home: &Path, share: u64) -> io::Result<u64> {
        if let Some(used) = *self.lock() {
            return Ok(share.saturating_sub(used));
        }
        let counted = match disk_usage(&home.join("checkpoints")) {
            Ok(counted) => counted.unwrap_or(u64::MAX),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        *self.lock() = Some(counted);
        Ok(share.saturating_sub(counted))
    }

    /// So much was copied.
    pub(super) fn add(&self, bytes: u64) {
        let mut used = self.lock();
        *used = used.map(|used| used.saturating_add(bytes));
    }

    /// Has to be counted anew.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
