//! Renaming and copying.
//!
//! Invariant: what a rename or a copy puts under a name is whole when it gets it; a copy of a tree keeps symlinks as they are
//! and reads nothing through them. Copies share their blocks with the original where the file system can.

use std::{
    fs::File,
    io::{self, Read},
};

use axum::{
    Json,
    extract::{Path, State},
};
use rustix::{
    fs::{FileType, OFlags, Stat, Timespec, Timestamps, fstat, futimens, ioctl_ficlone},
    io::Errno,
};

use super::{Budget, Host, Order, at, blocking, delete, find, find_named, shown};
use crate::sprite::{
    FileErrorKind,
    host::{
        error::{Failure, FileError},
        place::{Folder, Place, kind},
        resolve::{LastLink, Parents},
    },
    wire_files::{Copied, CopiedPair, CopyFile, RenameFile},
};

const OWNER_ALL: u32 = 0o700;

/// `POST /fs/rename`.
pub(in crate::sprite::host) async fn rename(
    State(host): State<Host>,
    Path(name): Path<String>,
    Order(order): Order<RenameFile>,
) -> Result<Json<RenameFile>, Failure> {
    let sprite = host.store.get(&name)?;
    let renamed = blocking(move || {
        let find = |path| find_named(&sprite, path, order.working_dir.as_deref());
        let (from, to) = (find(&order.source)?, find(&order.dest)?);
        let renamed = from
            .rename_to(&to)
            .and_then(|()| to.sync_names())
            .and_then(|()| from.sync_names());
        renamed.map_err(|errno| FileError::from_errno(&order.source, errno))?;
        Ok(RenameFile {
            source: shown(&from),
            dest: shown(&to),
            working_dir: None,
        })
    });
    Ok(Json(renamed.await?))
}

/// `POST /fs/copy`.
pub(in crate::sprite::host) async fn copy(
    State(host): State<Host>,
    Path(name): Path<String>,
    Order(order): Order<CopyFile>,
) -> Result<Json<Copied>, Failure> {
    let sprite = host.store.get(&name)?;
    let entries = host.store.config().limits.tree_entries;
    let copied = blocking(move || {
        let find = |path| {
            find(
                &sprite,
                path,
                order.working_dir.as_deref(),
                LastLink::Follow,
                Parents::MustExist,
            )
        };
        let (from, to) = (find(&order.source)?, find(&order.dest)?);
        let stat = from
            .stat()
            .map_err(|errno| FileError::from_errno(&order.source, errno))?;
        let mut copying = Copying {
            keep: if order.preserve_attrs {
                Keep::All
            } else {
                Keep::Permissions
            },
            budget: Budget::new(entries),
            count: 0,
            bytes: 0,
        };
        if kind(&stat) != FileType::Directory {
            copying.file(&from, &to, Sync::Now)?;
        } else if order.recursive {
            copying.directory(&from, &to, &stat)?;
        } else {
            let message = "it is a directory; ask for a recursive copy";
            return Err(FileError::new(FileErrorKind::IsDirectory, &order.source, message));
        }
        let (source, dest) = (shown(&from), shown(&to));
        Ok(Copied {
            copied: vec![CopiedPair {
                source: source.clone(),
                dest: dest.clone(),
            }],
            source,
            dest,
            count: copying.count,
            total_bytes: copying.bytes,
        })
    });
    Ok(Json(copied.await?))
}

/// What a copy takes over besides the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Permissions,
    /// All mode bits and the times. The owner is the same anyway.
    All,
}

/// When a copied file is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Now,
    WheneverTheSystemDoes,
}

/// A copy under way.
#[derive(Debug)]
struct Copying {
    keep: Keep,
    budget: Budget,
    /// Files, directories and symlinks so far.
    count: u64,
    bytes: u64,
}

impl Copying {
    /// Copies one file; one that is there is replaced.
    fn file(&mut self, from: &Place, to: &Place, sync: Sync) -> Result<(), FileError> {
        // Without O_NONBLOCK a FIFO would hold the thread for ever.
        let source = from.open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(at(from))?;
        let stat = fstat(&source).map_err(at(from))?;
        if kind(&stat) != FileType::RegularFile {
            let message = "it is neither a file nor a directory; only those are copied";
            return Err(FileError::invalid(&shown(from), message));
        }
        if to.stat().is_ok_and(|stat| kind(&stat) == FileType::Directory) {
            return Err(at(to)(Errno::ISDIR));
        }
        let draft = to.draft().map_err(at(to))?;
        if ioctl_ficlone(&draft.file, &source).is_err() {
            // Not more than there is now: the file may grow as fast as we copy.
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let copied = io::copy(&mut File::from(source).take(size), &mut &draft.file);
            copied.map_err(|error| FileError::from_io(&shown(to), &error))?;
        }
        if self.keep == Keep::All {
            futimens(&draft.file, &times(&stat)).map_err(at(to))?;
        }
        let size = fstat(&draft.file).map_err(at(to))?.st_size;
        let mode = self.mode(&stat);
        let named = match sync {
            Sync::Now => draft.publish(to, mode),
            Sync::WheneverTheSystemDoes => draft.name(to, mode),
        };
        named.map_err(at(to))?;
        self.count += 1;
        self.bytes += u64::try_from(size).unwrap_or(0);
        Ok(())
    }

    /// Copies a directory to a new name, or into a directory that is there.
    fn directory(&mut self, from: &Place, to: &Place, stat: &Stat) -> Result<(), FileError> {
        if to.path.starts_with(&from.path) {
            return Err(FileError::invalid(
                &shown(to),
                "a directory can't be copied into itself",
            ));
        }
        match to.stat() {
            Err(Errno::NOENT) => {}
            Ok(_) => return self.tree(from, to, stat, 0),
            Err(errno) => return Err(at(to)(errno)),
        }
        let new = to.beside();
        let copied = self.tree(from, &new, stat, 0).and_then(|()| {
            let named = new.rename_to(to).and_then(|()| to.sync_names());
            named.map_err(at(to))
        });
        if copied.is_err()
            && let Err(errno) = delete::remove_all(&new)
            && errno != Errno::NOENT
        {
            tracing::warn!(%errno, path = shown(&new), "a part of a copy was left behind");
        }
        copied
    }

    /// Copies a directory, `depth` directories below the one that is meant, to a directory that is there or is made.
    fn tree(&mut self, from: &Place, to: &Place, stat: &Stat, depth: usize) -> Result<(), FileError> {
        let source = from.folder().map_err(at(from))?;
        let is_new = match to.make_dir(OWNER_ALL) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(at(to)(errno)),
        };
        let target = to.folder().map_err(at(to))?;
        self.count += 1;
        self.entries(&source, &target, depth)?;
        if is_new {
            to.set_mode(self.mode(stat)).map_err(at(to))?;
        }
        if self.keep == Keep::All {
            to.set_times(&times(stat)).map_err(at(to))?;
        }
        Ok(())
    }

    fn entries(&mut self, source: &Folder, target: &Folder, depth: usize) -> Result<(), FileError> {
        let names = source.names();
        let errno = |errno| FileError::from_errno(&source.path.to_string_lossy(), errno);
        for name in names.map_err(errno)? {
            let name = name.map_err(errno)?;
            let (from, to) = (source.place(name.clone()), target.place(name));
            self.budget.spend(&from, depth)?;
            let stat = from.stat().map_err(at(&from))?;
            match kind(&stat) {
                FileType::Directory => self.tree(&from, &to, &stat, depth + 1)?,
                FileType::Symlink => self.link(&from, &to)?,
                _ => self.file(&from, &to, Sync::WheneverTheSystemDoes)?,
            }
        }
        Ok(())
    }

    fn link(&mut self, from: &Place, to: &Place) -> Result<(), FileError> {
        let target = from.link_target().map_err(at(from))?;
        let new = to.beside();
        new.make_link(&target).map_err(at(to))?;
        if let Err(errno) = new.rename_to(to) {
            // The name is ours alone, so what can be wrong is wrong with both.
            let _ = new.unlink();
            return Err(at(to)(errno));
        }
        self.count += 1;
        Ok(())
    }

    fn mode(&self, stat: &Stat) -> u32 {
        stat.st_mode
            & match self.keep {
                Keep::Permissions => 0o777,
                Keep::All => 0o7777,
            }
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
