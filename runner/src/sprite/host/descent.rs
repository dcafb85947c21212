//! Walking a tree by open directories.
//!
//! Invariant: a step down opens one name in an open directory and never follows a symlink; a step up is checked to arrive
//! where the step down came from. However deep a tree is, only a few directories are open at a time and the program's
//! stack does not grow. Entries come by the bytes of their names.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, chmod, fchmod, fstat, openat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// How many of the innermost directories are kept open.
const KEPT_OPEN: usize = 24;
/// The same in a tree that others change meanwhile, where the way up may be gone.
const KEPT_OPEN_IN_USE: usize = 256;
const LISTING_BYTES: usize = 64 << 10;

/// The names in a directory, sorted.
#[derive(Debug, Default)]
struct Names {
    /// Each with its NUL.
    bytes: Vec<u8>,
    /// Where each starts, the last one to come first.
    starts: Vec<usize>,
}

impl Names {
    fn read(dir: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<Self> {
        let mut names = Self::default();
        let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.starts.push(names.bytes.len());
                names.bytes.extend_from_slice(name.to_bytes_with_nul());
            }
        }
        let bytes = &names.bytes;
        // Up to the NUL, which sorts before everything, so it may as well take part.
        let key = |start: usize| {
            let rest = &bytes[start..];
            &rest[..=memchr::memchr(0, rest).unwrap_or(rest.len() - 1)]
        };
        names.starts.sort_unstable_by(|a, b| key(*b).cmp(key(*a)));
        Ok(names)
    }

    fn peek(&self) -> Option<&CStr> {
        let start = *self.starts.last()?;
        CStr::from_bytes_until_nul(&self.bytes[start..]).ok()
    }
}

/// One directory on the way down.
#[derive(Debug)]
struct Level {
    /// `None` while too many deeper ones are open.
    dir: Option<OwnedFd>,
    device: u64,
    inode: u64,
    names: Names,
    /// Length of the path up to here.
    path: usize,
    /// Its permissions, where they had to be widened to get in.
    narrow: Option<Mode>,
}

/// A place in a tree, with the names that are still to be visited at every level above.
#[derive(Debug)]
pub(super) struct Descent {
    levels: Vec<Level>,
    /// What its owner must be permitted in a directory to walk it.
    need: Mode,
    kept_open: usize,
    /// From the root, without a leading slash.
    path: Vec<u8>,
    buffer: Vec<u8>,
}

impl Descent {
    /// Starts at a directory, to read the tree.
    pub(super) fn to_read(home: BorrowedFd<'_>, root: &CStr) -> io::Result<Self> {
        Self::from(openat(home, root, OPEN, Mode::empty())?, Mode::RUSR | Mode::XUSR)
    }

    /// Starts at a directory, to look at a tree in use: what its owner did not permit is not permitted.
    pub(super) fn to_look(home: BorrowedFd<'_>, root: &CStr) -> io::Result<Self> {
        let descent = Self::from(openat(home, root, OPEN, Mode::empty())?, Mode::empty())?;
        Ok(Self {
            kept_open: KEPT_OPEN_IN_USE,
            ..descent
        })
    }

    /// Starts at a directory, to change the tree.
    pub(super) fn to_change(home: BorrowedFd<'_>, root: &CStr) -> io::Result<Self> {
        Self::from(openat(home, root, OPEN, Mode::empty())?, Mode::RWXU)
    }

    fn from(dir: OwnedFd, need: Mode) -> io::Result<Self> {
        let mut descent = Self {
            levels: Vec::new(),
            need,
            kept_open: KEPT_OPEN,
            path: Vec::new(),
            buffer: Vec::with_capacity(LISTING_BYTES),
        };
        descent.push(dir, None)?;
        Ok(descent)
    }

    /// How many directories deep it is; the root is 1.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The path from the root to a name here.
    pub(super) fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut path = self.path.clone();
        join(&mut path, name.to_bytes());
        path
    }

    /// The directory it is in.
    pub(super) fn dir(&self) -> io::Result<BorrowedFd<'_>> {
        let level = self.levels.last().and_then(|level| level.dir.as_ref());
        level.map(AsFd::as_fd).ok_or_else(moved)
    }

    /// The next name here, not yet taken.
    pub(super) fn peek(&self) -> Option<&CStr> {
        self.levels.last()?.names.peek()
    }

    /// Takes the next name here into `name`; `false` when there is none.
    pub(super) fn take(&mut self, name: &mut CString) -> bool {
        let Some(level) = self.levels.last_mut() else {
            return false;
        };
        let next = level.names.peek().map(CStr::to_owned);
        level.names.starts.pop();
        next.map(|next| *name = next).is_some()
    }

    /// What a name here is; `None` if it is gone.
    pub(super) fn stat(&self, name: &CStr) -> io::Result<Option<Stat>> {
        match statat(self.dir()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Goes into a directory here; what it is by then, or `None` if it is none any more.
    pub(super) fn enter(&mut self, name: &CStr) -> io::Result<Option<Stat>> {
        let (dir, narrow) = match open_dir(self.dir()?, name, self.need) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        join(&mut self.path, name.to_bytes());
        let mut stat = self.push(dir, narrow)?;
        if let Some(mode) = narrow {
            stat.st_mode = (stat.st_mode & !0o7777) | mode.as_raw_mode();
        }
        if let Some(far) = self.levels.len().checked_sub(self.kept_open + 1) {
            // The root stays open: it has no way up.
            if far > 0 {
                self.levels[far].dir = None;
            }
        }
        Ok(Some(stat))
    }

    fn push(&mut self, dir: OwnedFd, narrow: Option<Mode>) -> io::Result<Stat> {
        let stat = fstat(&dir)?;
        let names = Names::read(dir.as_fd(), &mut self.buffer)?;
        self.levels.push(Level {
            dir: Some(dir),
            device: stat.st_dev,
            inode: stat.st_ino,
            names,
            path: self.path.len(),
            narrow,
        });
        Ok(stat)
    }

    /// Goes back up; `false` at the root, which is left then as well.
    pub(super) fn leave(&mut self) -> io::Result<bool> {
        let Some(left) = self.levels.pop() else {
            return Ok(false);
        };
        let below = left.dir.ok_or_else(moved)?;
        if let Some(mode) = left.narrow {
            fchmod(&below, mode)?;
        }
        let Some(level) = self.levels.last_mut() else {
            return Ok(false);
        };
        self.path.truncate(level.path);
        if level.dir.is_none() {
            let dir = openat(&below, c"..", OPEN, Mode::empty())?;
            let stat = fstat(&dir)?;
            if (stat.st_dev, stat.st_ino) != (level.device, level.inode) {
                return Err(moved());
            }
            level.dir = Some(dir);
        }
        Ok(true)
    }

    /// The permissions given to the directory it is in are its own from now on, not just for the visit.
    pub(super) fn keep_mode(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.narrow = None;
        }
    }
}

/// Opens a directory without following it. Its owner gives itself what it needs there and is not permitted; the second value
/// is what was permitted before.
fn open_dir(dir: BorrowedFd<'_>, name: &CStr, need: Mode) -> Result<(OwnedFd, Option<Mode>), Errno> {
    let widen = |mode: Mode| change_mode(dir, name, mode | need);
    match openat(dir, name, OPEN, Mode::empty()) {
        Ok(fd) => {
            let mode = Mode::from_raw_mode(fstat(&fd)?.st_mode & 0o7777);
            if mode.contains(need) || geteuid().is_root() {
                return Ok((fd, None));
            }
            Ok((fd, widen(mode).ok().map(|()| mode)))
        }
        Err(Errno::ACCESS) if !need.is_empty() => {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            widen(mode)?;
            Ok((openat(dir, name, OPEN, Mode::empty())?, Some(mode)))
        }
        Err(errno) => Err(errno),
    }
}

/// Sets the permissions of a name without following it.
pub(super) fn change_mode(dir: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<(), Errno> {
    let handle = openat(
        dir,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if FileType::from_raw_mode(fstat(&handle)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), mode)
}

/// Opens a regular file to read it, also one that its owner is not permitted to read; `None` if it is gone or no regular
/// file any more.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<(OwnedFd, Stat)>> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::empty())
    };
    let file = match open() {
        Err(Errno::ACCESS) => {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            change_mode(dir, name, mode | Mode::RUSR)?;
            let file = open()?;
            fchmod(&file, mode)?;
            file
        }
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        opened => opened?,
    };
    let stat = fstat(&file)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(regular.then_some((file, stat)))
}

/// Removes a name in an open directory, with everything in it if it is a directory. What is gone already is fine.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let (top, _) = open_dir(dir, name, Mode::RWXU)?;
    let mut descent = Descent::from(top, Mode::RWXU)?;
    let mut way: Vec<CString> = Vec::new();
    let mut next = CString::default();
    loop {
        if descent.take(&mut next) {
            match unlinkat(descent.dir()?, &next, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    if descent.enter(&next)?.is_some() {
                        descent.keep_mode();
                        way.push(next.clone());
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
            continue;
        }
        if !descent.leave()? {
            return Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?);
        }
        if let Some(done) = way.pop() {
            unlinkat(descent.dir()?, &done, AtFlags::REMOVEDIR)?;
        }
    }
}

fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn moved() -> io::Error {
    io::Error::other("a directory was moved while it was walked")
}
