//! Putting a tree back: one walk over it beside the manifest it shall become.
//!
//! Invariant: only what differs is touched, and a file is replaced by one rename, so it is the old one or the new one. The
//! walk looks at what is there and not at what was done before, so one that was cut short is finished by another.

use std::{
    cmp::Ordering,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, openat, readlinkat, renameat, statat,
    symlinkat,
};

use super::{
    capture::{ManifestReader, ROOT, is_hosts},
    copy::{Copier, dress, dress_name, set_attributes},
    cut,
    manifest::{Entry, Kind, Object, damaged, mtime, size_of},
};
use crate::random::hex_id;
use crate::sprite::host::descent::{Descent, open_file, remove};

const STEP: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What was done.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Done {
    pub(super) written: u64,
    pub(super) removed: u64,
    /// Entries of which something else than the content was put right.
    pub(super) touched: u64,
}

impl Done {
    pub(super) fn nothing(self) -> bool {
        self.written + self.removed + self.touched == 0
    }
}

/// A directory the walk is in.
struct Level {
    /// What it shall be.
    entry: Entry,
    /// Whether its attributes are right already.
    attributes: bool,
    /// Whether the known manifest has it and stands in it.
    known: bool,
}

/// One walk.
pub(super) struct Apply<'a> {
    home: BorrowedFd<'a>,
    objects: &'a OwnedFd,
    descent: Descent,
    /// The tree as it was last seen: where an entry is untouched since, its content is known without reading it.
    known: Option<ManifestReader>,
    target: ManifestReader,
    levels: Vec<Level>,
    copier: Copier,
    /// A name nobody else has, for what is being made.
    temporary: CString,
    done: Done,
}

impl<'a> Apply<'a> {
    /// Makes the sprite in `home` what `target` says, with the copies in `objects`.
    pub(super) fn new(
        home: BorrowedFd<'a>,
        objects: &'a OwnedFd,
        known: Option<ManifestReader>,
        target: ManifestReader,
    ) -> io::Result<Self> {
        Ok(Self {
            home,
            objects,
            descent: Descent::to_change(home, ROOT)?,
            known,
            target,
            levels: Vec::new(),
            copier: Copier::new(),
            temporary: CString::new(format!(".roost-restore-{}", hex_id()))?,
            done: Done::default(),
        })
    }

    /// Does it. Nothing is synced.
    pub(super) fn run(mut self) -> io::Result<Done> {
        let root = self.target.entry().cloned().ok_or_else(damaged)?;
        let stat = fstat(self.descent.dir()?)?;
        self.come_in(root, Some(&stat))?;
        let mut name = CString::default();
        loop {
            let live = self.descent.peek();
            if live.is_some_and(|live| is_hosts(&self.descent, live)) {
                self.descent.take(&mut name);
                continue;
            }
            let wanted = self.target.entry().map(|entry| entry.name.as_slice());
            let order = match (live.map(CStr::to_bytes), wanted) {
                (None, None) => {
                    if !self.go_out()? {
                        return Ok(self.done);
                    }
                    continue;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(live), Some(wanted)) => live.cmp(wanted),
            };
            if order == Ordering::Less {
                self.descent.take(&mut name);
                cut::here()?;
                remove(self.descent.dir()?, &name)?;
                self.done.removed += 1;
                continue;
            }
            let entry = self.target.entry().cloned().ok_or_else(damaged)?;
            let mut stat = None;
            if order == Ordering::Equal {
                self.descent.take(&mut name);
                stat = self.descent.stat(&name)?;
            } else {
                name = CString::new(entry.name.as_slice())?;
            }
            self.make(&name, entry, stat.as_ref())?;
        }
    }

    /// Makes one entry what it shall be; `stat` is what stands there now.
    fn make(&mut self, name: &CStr, entry: Entry, stat: Option<&Stat>) -> io::Result<()> {
        let is = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if entry.is_directory() {
            if is.is_some_and(|is| is != FileType::Directory) {
                cut::here()?;
                remove(self.descent.dir()?, name)?;
            }
            let mut stat = stat.filter(|_| is == Some(FileType::Directory));
            if stat.is_none() {
                cut::here()?;
                mkdirat(self.descent.dir()?, name, Mode::RWXU)?;
                self.done.written += 1;
            }
            let entered = self.descent.enter(name)?.ok_or_else(moved)?;
            if stat.is_some() {
                stat = Some(&entered);
            }
            return self.come_in(entry, stat);
        }
        let known = match stat {
            Some(stat) => self.known(name, stat)?,
            None => None,
        };
        match &entry.kind {
            Kind::File { object, .. } => {
                let same = known.as_ref().is_some_and(
                    |known| matches!(&known.kind, Kind::File { object: is, .. } if is == object),
                );
                match stat.filter(|_| same) {
                    Some(stat) => self.touch_up(name, &entry, stat, known.as_ref())?,
                    None => self.write(name, &entry, is)?,
                }
            }
            Kind::Symlink { target } => {
                let dir = self.descent.dir()?;
                let same = is == Some(FileType::Symlink)
                    && readlinkat(dir, name, Vec::new())?.to_bytes() == target.as_slice();
                match stat.filter(|_| same) {
                    Some(stat) => self.done.touched += u64::from(dress_name(dir, name, &entry, stat)?),
                    None => {
                        symlinkat(target.as_slice(), dir, &self.temporary)?;
                        let made = statat(dir, &self.temporary, AtFlags::SYMLINK_NOFOLLOW)?;
                        dress_name(dir, &self.temporary, &entry, &made)?;
                        self.put(name, is)?;
                    }
                }
            }
            Kind::Link { path } => {
                let (parent, first) = self.find(path)?;
                let meant = statat(&parent, &first, AtFlags::SYMLINK_NOFOLLOW)?;
                if stat.is_none_or(|stat| stat.st_ino != meant.st_ino) {
                    linkat(
                        &parent,
                        &first,
                        self.descent.dir()?,
                        &self.temporary,
                        AtFlags::empty(),
                    )?;
                    self.put(name, is)?;
                }
            }
            Kind::Directory => {}
        }
        self.target.advance()
    }

    /// What stands at that name, if it is untouched since the known manifest was made.
    fn known(&mut self, name: &CStr, stat: &Stat) -> io::Result<Option<Entry>> {
        match &mut self.known {
            Some(known) if self.levels.last().is_some_and(|level| level.known) => {
                let entry = known.seek(name.to_bytes())?;
                Ok(entry.filter(|entry| entry.untouched(stat)).cloned())
            }
            _ => Ok(None),
        }
    }

    /// The content is right; the rest may not be.
    fn touch_up(&mut self, name: &CStr, entry: &Entry, stat: &Stat, known: Option<&Entry>) -> io::Result<()> {
        let dir = self.descent.dir()?;
        let mut touched = false;
        if known.is_none_or(|known| known.attributes != entry.attributes)
            && let Some((file, _)) = open_file(dir, name)?
        {
            set_attributes(file.as_fd(), entry)?;
            touched = true;
        }
        touched |= dress_name(dir, name, entry, stat)?;
        self.done.touched += u64::from(touched);
        Ok(())
    }

    fn write(&mut self, name: &CStr, entry: &Entry, is: Option<FileType>) -> io::Result<()> {
        let Kind::File { size, object } = entry.kind else {
            return Ok(());
        };
        let from = self.object(object)?;
        let stat = fstat(&from)?;
        if size_of(&stat) != size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a copy of a file is damaged",
            ));
        }
        cut::here()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(
            self.descent.dir()?,
            &self.temporary,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?;
        self.copier.copy(from.as_fd(), to.as_fd(), &stat)?;
        dress(to.as_fd(), entry)?;
        self.put(name, is)
    }

    /// Gives what was made under the temporary name its own.
    fn put(&mut self, name: &CStr, is: Option<FileType>) -> io::Result<()> {
        let dir = self.descent.dir()?;
        cut::here()?;
        if is == Some(FileType::Directory) {
            remove(dir, name)?;
            cut::here()?;
        }
        renameat(dir, &self.temporary, dir, name)?;
        self.done.written += 1;
        Ok(())
    }

    fn object(&self, object: Object) -> io::Result<OwnedFd> {
        let path = format!("{}/{}", object.build, object.number);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.objects, path, flags, Mode::empty()).map_err(|errno| {
            io::Error::new(
                io::Error::from(errno).kind(),
                "a copy of a file is missing from the checkpoint",
            )
        })
    }

    /// A path from the root of something the walk has passed.
    fn find(&self, path: &[u8]) -> io::Result<(OwnedFd, CString)> {
        let mut dir = openat(self.home, ROOT, STEP, Mode::empty())?;
        let mut names = path.split(|byte| *byte == b'/');
        let last = names.next_back().unwrap_or_default();
        for name in names {
            dir = openat(&dir, name, STEP, Mode::empty())?;
        }
        Ok((dir, CString::new(last)?))
    }

    /// The walk has come into a directory; `stat` is what it was before, if it was there.
    fn come_in(&mut self, entry: Entry, stat: Option<&Stat>) -> io::Result<()> {
        let mut level = Level {
            attributes: stat.is_none() && entry.attributes.is_empty(),
            known: false,
            entry,
        };
        if let Some(stat) = stat
            && let Some(known) = &mut self.known
            && self.levels.last().is_none_or(|level| level.known)
            && let Some(old) = known.seek(&level.entry.name)?.filter(|old| old.is_directory())
        {
            level.attributes = old.untouched(stat) && old.attributes == level.entry.attributes;
            known.advance()?;
            level.known = true;
        }
        self.levels.push(level);
        self.target.advance()
    }

    /// Everything in the directory is right: so shall the directory be. `false` when it was the root.
    fn go_out(&mut self) -> io::Result<bool> {
        let Some(level) = self.levels.pop() else {
            return Ok(false);
        };
        let dir = self.descent.dir()?;
        let (is, shall) = (fstat(dir)?, &level.entry);
        let same = (is.st_mode & 0o7777, is.st_uid, is.st_gid) == (shall.mode, shall.uid, shall.gid);
        if !same || mtime(&is) != shall.mtime || !level.attributes {
            cut::here()?;
            dress(dir, shall)?;
            self.done.touched += 1;
        }
        self.descent.keep_mode();
        if level.known
            && let Some(known) = &mut self.known
        {
            known.leave()?;
        }
        self.target.leave()?;
        self.descent.leave()
    }
}

fn moved() -> io::Error {
    io::Error::other("a directory was moved while it was walked")
}
