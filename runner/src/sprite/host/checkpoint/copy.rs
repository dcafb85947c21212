//! Copies of single files, and what belongs to a file besides its bytes.
//!
//! Invariant: a copy shares its blocks with the original where the file system can do that; else holes stay holes. Times are
//! set last, because everything else changes them.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, SeekFrom, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat,
        copy_file_range, fchmod, fchown, fgetxattr, flistxattr, flistxattr_query, fremovexattr, fsetxattr,
        ftruncate, futimens, ioctl_ficlone, seek, utimensat,
    },
    io::{Errno, pread, pwrite},
};

use super::manifest::{Entry, Time, mtime, size_of};
use crate::sprite::host::descent::change_mode;

const USER: &[u8] = b"user.";
const MAX_LIST_BYTES: usize = 64 << 10;
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Files up to this size are copied by one read and one write.
const SMALL_BYTES: u64 = 64 << 10;
const BLOCK: u64 = 512;

/// Copies files, and remembers what the file system could not do.
#[derive(Debug)]
pub(super) struct Copier {
    can_clone: bool,
    buffer: Vec<u8>,
}

impl Copier {
    pub(super) fn new() -> Self {
        Self {
            can_clone: true,
            buffer: vec![0; SMALL_BYTES as usize],
        }
    }

    /// Fills the empty file `to` with what `from` holds.
    pub(super) fn copy(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
        let size = size_of(stat);
        if size == 0 {
            return Ok(());
        }
        if self.can_clone {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(Errno::NOSPC | Errno::DQUOT) => return Err(Errno::NOSPC.into()),
                Err(_) => self.can_clone = false,
            }
        }
        let sparse = u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK < size;
        if sparse {
            ftruncate(to, size)?;
            let mut end = 0;
            loop {
                // No data after here is how a file ends in a hole.
                let start = match seek(from, SeekFrom::Data(end)) {
                    Err(Errno::NXIO) => return Ok(()),
                    start => start?,
                };
                end = seek(from, SeekFrom::Hole(start))?;
                self.range(from, to, start, end)?;
            }
        }
        self.range(from, to, 0, size)
    }

    fn range(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> io::Result<()> {
        let mut at = start;
        while end - at > SMALL_BYTES {
            let (mut read, mut write) = (at, at);
            let most = usize::try_from(end - at).unwrap_or(usize::MAX);
            match copy_file_range(from, Some(&mut read), to, Some(&mut write), most) {
                // It was cut meanwhile.
                Ok(0) => return Ok(()),
                Ok(count) => at += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        while at < end {
            let most = usize::try_from((end - at).min(SMALL_BYTES)).unwrap_or(0);
            let count = pread(from, &mut self.buffer[..most], at)?;
            if count == 0 {
                return Ok(());
            }
            let mut done = 0;
            while done < count {
                done += pwrite(to, &self.buffer[done..count], at + done as u64)?;
            }
            at += count as u64;
        }
        Ok(())
    }
}

/// The `user.*` attributes, by name; none where the file system has none.
pub(super) fn attributes(of: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    match flistxattr_query(of) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        _ => {}
    }
    let mut list = vec![0; MAX_LIST_BYTES];
    let length = flistxattr(of, list.as_mut_slice())?;
    list.truncate(length);
    let mut found = Vec::new();
    for name in list
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(USER))
    {
        let key = CString::new(name)?;
        let mut value = vec![0; MAX_VALUE_BYTES];
        match fgetxattr(of, &key, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.to_vec(), value));
            }
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes the `user.*` attributes those of `entry`.
pub(super) fn set_attributes(of: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    let now = attributes(of)?;
    for (name, _) in now
        .iter()
        .filter(|(name, _)| !entry.attributes.iter().any(|(kept, _)| kept == name))
    {
        fremovexattr(of, &CString::new(name.as_slice())?)?;
    }
    for pair in entry.attributes.iter().filter(|pair| !now.contains(pair)) {
        fsetxattr(
            of,
            &CString::new(pair.0.as_slice())?,
            &pair.1,
            XattrFlags::empty(),
        )?;
    }
    Ok(())
}

/// Owner, permissions, attributes and time of an open file or directory, as `entry` has them.
pub(super) fn dress(file: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    own(fchown(
        file,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    ))?;
    set_attributes(file, entry)?;
    fchmod(file, Mode::from_raw_mode(entry.mode))?;
    Ok(futimens(file, &times(entry.mtime))?)
}

/// The same of a name, which need not be one that can be opened; its attributes are left alone.
/// Whether there was anything to do.
pub(super) fn dress_name(dir: BorrowedFd<'_>, name: &CStr, entry: &Entry, is: &Stat) -> io::Result<bool> {
    let mut changed = false;
    if (is.st_uid, is.st_gid) != (entry.uid, entry.gid) {
        let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        own(chownat(
            dir,
            name,
            Some(user),
            Some(group),
            AtFlags::SYMLINK_NOFOLLOW,
        ))?;
        changed = true;
    }
    let link = matches!(entry.kind, super::manifest::Kind::Symlink { .. });
    if !link && is.st_mode & 0o7777 != entry.mode {
        change_mode(dir, name, Mode::from_raw_mode(entry.mode))?;
        changed = true;
    }
    if mtime(is) != entry.mtime {
        utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        changed = true;
    }
    Ok(changed)
}

/// Whoever is not root can give nothing away, and then everything is its own already.
fn own(done: Result<(), Errno>) -> io::Result<()> {
    match done {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        done => Ok(done?),
    }
}

fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanos),
        },
    }
}

/// Whether a file still is as it was when `stat` was taken.
pub(super) fn still(file: impl AsFd, stat: &Stat) -> io::Result<bool> {
    let now = rustix::fs::fstat(file)?;
    let times = |stat: &Stat| (mtime(stat), super::manifest::ctime(stat), size_of(stat));
    Ok(times(&now) == times(stat))
}
