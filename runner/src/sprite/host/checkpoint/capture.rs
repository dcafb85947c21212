//! Taking a checkpoint: one walk over the tree beside the manifest of the last state that is known.
//!
//! Invariant: a file counts as unchanged only if inode, both times and size are those of the manifest and nothing could have
//! changed it unseen since: neither in the clock tick of that manifest nor through a shared mapping that existed then.
//! Everything else is copied. The tree must not change meanwhile; what changes all the same is marked as racy.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fsync, openat, readlinkat, syncfs},
    io::Errno,
};

use super::{
    copy::{Copier, attributes, still},
    decode::Reader,
    encode::Writer,
    manifest::{Entry, Kind, Object, Time, ctime, mtime, size_of},
    room::NoRoom,
};
use crate::sprite::host::{
    descent::{Descent, open_file},
    usage::size as size_on_disk,
};

/// A sprite's file system, in its directory.
pub(super) const ROOT: &CStr = c"root";
/// What the host itself writes in a sprite: logs, which are no part of its state.
const LOGS: &[u8] = b"var/log/services";
/// The kernel stamps files with a clock that ticks; two changes within a tick look the same.
const TICK_NANOS: i64 = 20_000_000;
/// Above this many hard links the rest become files of their own.
const MAX_LINKS: usize = 1 << 18;
const MAX_NOTES: usize = 5;
/// More new objects than this are flushed with the whole file system instead of one by one.
const FLUSH_SINGLY: usize = 64;

pub(super) type ManifestReader = Reader<File>;

/// What the walk may believe of the manifest beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It describes this tree at an earlier time: inodes and change times tell what changed since.
    Earlier,
    /// The tree was just made from it: what stands where it should, with size and time, is what it says.
    Restored,
}

/// More would have to be copied than may be while the sprite stands still.
#[derive(Debug, thiserror::Error)]
#[error("there is more to copy than there is time")]
struct TooMuch;

/// Whether a walk ended for that reason.
pub(super) fn is_too_much(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<TooMuch>())
}

/// Files take whole pages on most disks.
const PAGE: u64 = 4 << 10;
/// What opening and making a file costs, in bytes that could be copied meanwhile.
const FILE_COST: u64 = 32 << 10;

/// New copies of files.
#[derive(Debug)]
pub(super) struct Objects {
    dir: OwnedFd,
    build: u32,
    /// What may still be copied while the sprite stands still, in bytes; `None` for any amount.
    left: Option<u64>,
    /// What there is room for, in bytes.
    room: u64,
    files: Vec<OwnedFd>,
    pub(super) count: u32,
    /// What the copies take on the disk, at most.
    pub(super) bytes: u64,
}

impl Objects {
    /// Copies go into `dir` and are known as those of `build`: at most about `most` bytes, and no more than there is `room` for.
    pub(super) fn new(dir: OwnedFd, build: u32, most: Option<u64>, room: u64) -> Self {
        Self {
            dir,
            build,
            left: most,
            room,
            files: Vec::new(),
            count: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, copier: &mut Copier, from: &OwnedFd, stat: &Stat) -> io::Result<Object> {
        if let Some(left) = &mut self.left {
            let cost = size_of(stat) + FILE_COST;
            *left = left.checked_sub(cost).ok_or_else(|| io::Error::other(TooMuch))?;
        }
        // Holes stay holes.
        let bytes = size_on_disk(stat).min(size_of(stat).next_multiple_of(PAGE));
        if self.bytes + bytes > self.room {
            return Err(io::Error::other(NoRoom));
        }
        let object = Object {
            build: self.build,
            number: self.count,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let name = object.number.to_string();
        let to = openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        copier.copy(from.as_fd(), to.as_fd(), stat)?;
        self.count = self.count.checked_add(1).ok_or(Errno::OVERFLOW)?;
        self.bytes += bytes;
        if self.files.len() < FLUSH_SINGLY {
            self.files.push(to);
        }
        Ok(object)
    }

    /// Returns once all copies are on disk.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.count as usize > self.files.len() {
            syncfs(&self.dir)?;
        } else {
            for file in &self.files {
                fsync(file)?;
            }
            fsync(&self.dir)?;
        }
        self.files.clear();
        Ok(())
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: u64,
    /// Sizes of all files, summed.
    pub(super) bytes: u64,
    pub(super) skipped: u64,
    /// The first few of what was skipped, with the reason.
    pub(super) notes: Vec<String>,
}

/// One walk.
pub(super) struct Capture<'a, W> {
    descent: Descent,
    base: Option<(ManifestReader, Trust)>,
    /// For each level, whether the base has that directory and stands in it.
    in_base: Vec<bool>,
    out: Writer<W>,
    objects: Option<&'a mut Objects>,
    copier: Copier,
    /// Files with several names: inode → the first one's path.
    links: BTreeMap<u64, Vec<u8>>,
    /// Inodes that a process of the sprite has mapped shared.
    mapped: &'a BTreeSet<u64>,
    racy_from: Time,
    device: u64,
    found: Found,
}

impl<'a, W: io::Write> Capture<'a, W> {
    /// Of the sprite in `home` into `out`, beside `base`. Without `objects`, what would be copied gets no object and counts
    /// as changed the next time.
    pub(super) fn new(
        home: BorrowedFd<'_>,
        base: Option<(ManifestReader, Trust)>,
        out: W,
        objects: Option<&'a mut Objects>,
        mapped: &'a BTreeSet<u64>,
    ) -> io::Result<Self> {
        Ok(Self {
            descent: Descent::to_read(home, ROOT)?,
            base,
            in_base: Vec::new(),
            out: Writer::new(out),
            objects,
            copier: Copier::new(),
            links: BTreeMap::new(),
            mapped,
            racy_from: racy_from(),
            device: 0,
            found: Found::default(),
        })
    }

    /// Walks; gives back what it wrote to, flushed but not synced.
    pub(super) fn run(mut self) -> io::Result<(W, Found)> {
        let stat = rustix::fs::fstat(self.descent.dir()?)?;
        self.device = stat.st_dev;
        self.directory(b"", &stat)?;
        let mut name = CString::default();
        loop {
            while self.descent.take(&mut name) {
                if !is_hosts(&self.descent, &name) {
                    self.visit(&name)?;
                }
            }
            self.out.leave()?;
            if self.in_base.pop() == Some(true)
                && let Some((base, _)) = &mut self.base
            {
                base.leave()?;
            }
            if !self.descent.leave()? {
                break;
            }
        }
        let (out, entries) = self.out.end()?;
        self.found.entries = entries;
        Ok((out, self.found))
    }

    fn visit(&mut self, name: &CStr) -> io::Result<()> {
        // Names can vanish by requests to the host itself; then they are not part of the checkpoint.
        let Some(stat) = self.descent.stat(name)? else {
            return Ok(());
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if stat.st_dev != self.device => {
                self.note(name, "another file system");
                Ok(())
            }
            FileType::Directory => match self.descent.enter(name)? {
                Some(stat) => self.directory(name.to_bytes(), &stat),
                None => Ok(()),
            },
            FileType::RegularFile => self.file(name, &stat),
            FileType::Symlink => self.symlink(name, &stat),
            _ => {
                self.note(name, "a socket, pipe or device");
                Ok(())
            }
        }
    }

    fn note(&mut self, name: &CStr, reason: &str) {
        self.found.skipped += 1;
        if self.found.notes.len() < MAX_NOTES {
            let path = self.descent.path_of(name);
            self.found
                .notes
                .push(format!("/{} ({reason})", String::from_utf8_lossy(&path)));
        }
    }

    /// Writes the directory that the walk has just come into.
    fn directory(&mut self, name: &[u8], stat: &Stat) -> io::Result<()> {
        let mut entry = Entry::of(name, Kind::Directory, stat, self.racy(stat));
        let mut known = None;
        let mut is_in_base = false;
        if let Some((base, trust)) = &mut self.base
            && self.in_base.last().is_none_or(|inside| *inside)
            && let Some(old) = base.seek(name)?.filter(|old| old.is_directory())
        {
            if *trust == Trust::Restored || old.untouched(stat) {
                known = Some(old.attributes.clone());
            }
            base.advance()?;
            is_in_base = true;
        }
        self.in_base.push(is_in_base);
        entry.attributes = match known {
            Some(known) => known,
            None => attributes(self.descent.dir()?)?,
        };
        self.out.entry(&entry)
    }

    fn symlink(&mut self, name: &CStr, stat: &Stat) -> io::Result<()> {
        if let Some(old) = Self::old(&mut self.base, &self.in_base, name)?
            && matches!(old.kind, Kind::Symlink { .. })
            && old.untouched(stat)
        {
            return self.out.entry(old);
        }
        let target = match readlinkat(self.descent.dir()?, name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let entry = Entry::of(name.to_bytes(), Kind::Symlink { target }, stat, self.racy(stat));
        self.out.entry(&entry)
    }

    fn file(&mut self, name: &CStr, stat: &Stat) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(path) = self.links.get(&stat.st_ino) {
                let kind = Kind::Link { path: path.clone() };
                return self.out.entry(&Entry::of(name.to_bytes(), kind, stat, false));
            }
            if self.links.len() < MAX_LINKS {
                self.links.insert(stat.st_ino, self.descent.path_of(name));
            }
        }
        self.found.bytes += size_of(stat);
        let mapped = self.mapped.contains(&stat.st_ino);
        let trust = self.base.as_ref().map(|(_, trust)| *trust);
        if !mapped
            && let Some(old) = Self::old(&mut self.base, &self.in_base, name)?
            && let Kind::File { size, object } = old.kind
        {
            if trust == Some(Trust::Earlier) && old.untouched(stat) {
                return self.out.entry(old);
            }
            if trust == Some(Trust::Restored) && size == size_of(stat) && old.mtime == mtime(stat) {
                let attributes = old.attributes.clone();
                let kind = Kind::File { size, object };
                let entry = Entry {
                    attributes,
                    ..Entry::of(name.to_bytes(), kind, stat, self.racy(stat))
                };
                return self.out.entry(&entry);
            }
        }
        self.copy(name, mapped)
    }

    fn copy(&mut self, name: &CStr, mapped: bool) -> io::Result<()> {
        let Some((file, stat)) = open_file(self.descent.dir()?, name)? else {
            return Ok(());
        };
        let object = match &mut self.objects {
            Some(objects) => Some(objects.add(&mut self.copier, &file, &stat)?),
            None => None,
        };
        let racy = mapped || object.is_none() || self.racy(&stat) || !still(&file, &stat)?;
        let kind = Kind::File {
            size: size_of(&stat),
            object: object.unwrap_or_default(),
        };
        let entry = Entry {
            attributes: attributes(file.as_fd())?,
            ..Entry::of(name.to_bytes(), kind, &stat, racy)
        };
        self.out.entry(&entry)
    }

    /// What the base has under that name of the directory the walk is in.
    fn old<'b>(
        base: &'b mut Option<(ManifestReader, Trust)>,
        in_base: &[bool],
        name: &CStr,
    ) -> io::Result<Option<&'b Entry>> {
        match base {
            Some((base, _)) if in_base.last() == Some(&true) => base.seek(name.to_bytes()),
            _ => Ok(None),
        }
    }

    fn racy(&self, stat: &Stat) -> bool {
        ctime(stat) >= self.racy_from
    }
}

/// Whether a name where the walk is belongs to the host.
pub(super) fn is_hosts(descent: &Descent, name: &CStr) -> bool {
    descent.depth() == 3 && LOGS.ends_with(name.to_bytes()) && descent.path_of(name) == LOGS
}

/// From when on a change time may still be given to another change.
fn racy_from() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX) - TICK_NANOS;
    Time {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

/// How long to wait until nothing that was done before is racy any more.
pub(super) const SETTLED: std::time::Duration = std::time::Duration::from_nanos(TICK_NANOS as u64);
