//! Files that get their name last: a backup and a restored database are written under another one first.
//!
//! Invariant: a draft that did not become what it was for is removed, and no name that is taken is given away.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::backup::BackupError;

/// A file that is removed unless it is given another name. What people said to agents lies in it: nobody else's to read.
pub(super) struct Draft(PathBuf);

impl Draft {
    /// A new, empty file there.
    pub(super) fn new(path: PathBuf) -> Result<Self, BackupError> {
        match OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(_) => Ok(Self(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(path)),
            Err(error) => Err(unusable(&path, error)),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it a name that no other file has.
    pub(super) fn link(&self, to: &Path) -> Result<(), BackupError> {
        fs::hard_link(&self.0, to)
            .and_then(|()| sync_directory(to))
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => BackupError::Exists(to.into()),
                _ => unusable(to, error),
            })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Has the names in a file's directory written to the disk.
pub(super) fn sync_directory(file: &Path) -> io::Result<()> {
    let parent = file.parent().filter(|parent| *parent != OsStr::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The file beside this one whose name ends so.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// That a file can't be used.
pub(super) fn unusable(path: &Path, error: io::Error) -> BackupError {
    BackupError::File {
        path: path.into(),
        error,
    }
}
