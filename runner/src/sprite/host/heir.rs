//! A sprite that was made when its host did not run as root, and is given a user of its own by one that does.
//!
//! Invariant: only what the sprite made changes hands: what belongs to the host's former user, on the sprite's own file system,
//! and has no name elsewhere. What a link points to is not touched, and each entry is looked at and changed by one descriptor.
//! The sprite's home changes hands last, so that a host that died in the middle is known to have.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat, statat};

use super::{descent::Descent, record::Record, resolve::OWN_DIRECTORIES};

/// By whose owner it is known whether all is done.
const LAST: &CStr = c"home";

/// Whom the sprite with its file system in `root` belongs to.
pub(super) fn owner(root: &Path) -> io::Result<u32> {
    let root = open(CWD, &CString::new(root.as_os_str().as_bytes())?)?;
    Ok(statat(&root, LAST, AtFlags::SYMLINK_NOFOLLOW)?.st_uid)
}

/// Gives what still belongs to the sprite's former user to its own, if it has had another one. Blocks. Nothing runs in it.
pub(super) fn settle(root: &Path, record: &Record) -> io::Result<()> {
    let (Some(user), Some(former)) = (record.user, record.former) else {
        return Ok(());
    };
    if owner(root)? != former || user == former {
        return Ok(());
    }
    let top = open(CWD, &CString::new(root.as_os_str().as_bytes())?)?;
    let names = all_names(top.as_fd(), former)?;
    let mut kept = 0_u64;
    each(top.as_fd(), |dir, name| {
        let (entry, stat) = look(dir, name)?;
        if !is_of(&stat, former) {
            return Ok(());
        }
        let here = names.get(&stat.st_ino).copied().unwrap_or(1);
        if is_directory(&stat) || here == stat.st_nlink {
            return give(&entry, user);
        }
        kept += 1;
        Ok(())
    })?;
    if kept > 0 {
        tracing::warn!(
            sprite = record.name,
            kept,
            "files that have a name elsewhere stay their former owner's"
        );
    }
    let own = OWN_DIRECTORIES.map(|name| CString::new(name).unwrap_or_default());
    let (last, first): (Vec<_>, Vec<_>) = own.iter().partition(|name| name.as_c_str() == LAST);
    for name in first.into_iter().chain(last) {
        let (entry, stat) = look(top.as_fd(), name)?;
        if is_of(&stat, former) && is_directory(&stat) {
            give(&entry, user)?;
        }
    }
    tracing::info!(
        sprite = record.name,
        user,
        former,
        "the sprite was given a user of its own"
    );
    Ok(())
}

/// For each file with several names that belongs to the user, how many of them are here.
fn all_names(top: BorrowedFd<'_>, user: u32) -> io::Result<BTreeMap<u64, u64>> {
    let mut names = BTreeMap::new();
    each(top, |dir, name| {
        let (_, stat) = look(dir, name)?;
        if is_of(&stat, user) && !is_directory(&stat) && stat.st_nlink > 1 {
            *names.entry(stat.st_ino).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(names)
}

/// Visits every entry below the sprite's own directories that is on their file system, not those directories.
fn each(
    top: BorrowedFd<'_>,
    mut visit: impl FnMut(BorrowedFd<'_>, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    let device = fstat(top)?.st_dev;
    for own in OWN_DIRECTORIES {
        let mut descent = Descent::to_look(top, &CString::new(own)?)?;
        let mut name = CString::default();
        loop {
            while descent.take(&mut name) {
                let Some(stat) = descent.stat(&name)? else {
                    continue;
                };
                if stat.st_dev != device {
                    continue;
                }
                visit(descent.dir()?, &name)?;
                if is_directory(&stat) {
                    descent.enter(&name)?;
                }
            }
            if !descent.leave()? {
                break;
            }
        }
    }
    Ok(())
}

/// The very entry of that name, and what it is.
fn look(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<(rustix::fd::OwnedFd, Stat)> {
    let entry = open(dir, name)?;
    let stat = fstat(&entry)?;
    Ok((entry, stat))
}

fn open(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<rustix::fd::OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

fn give(entry: &rustix::fd::OwnedFd, user: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    Ok(chownat(entry, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
}

/// Whether it is a thing of that user's that a sprite can have made.
fn is_of(stat: &Stat, user: u32) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    stat.st_uid == user && !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
