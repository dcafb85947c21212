//! Where the checkpoints of a sprite are kept, and how one appears, disappears and is finished after a crash.
//!
//! # Layout
//! Beside a sprite's `root`, in `checkpoints/`:
//! * `v1/`, `auto-1/`: a checkpoint each, `info.json` and `manifest`;
//! * `objects/BUILD/NUMBER`: copies of files, named by manifests;
//! * `base`: the manifest of the last state that is known (a checkpoint's own, or the one after a restore);
//! * `state.json`: the next numbers, what the present state comes from;
//! * `new/`: a checkpoint that is being made;
//! * `gone/`: manifests that are dropped and whose objects may have to go;
//! * `restore.json`: a restore that has begun.
//!
//! Invariant: everything is done through directories that were opened once, so a sprite that takes the name of a deleted
//! one is never touched. A checkpoint appears by one rename, after all it needs is on disk.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, fstat, fsync, linkat, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    capture::{ManifestReader, Objects},
    cut,
    decode::Reader,
    disk::{DIRECTORY, create_file, delete_file, make_dir, names, read_json, write_json},
    info::Info,
    manifest::size_of,
};
use crate::sprite::host::descent::remove;

const CHECKPOINTS: &CStr = c"checkpoints";
const OBJECTS: &CStr = c"objects";
pub(super) const MANIFEST: &CStr = c"manifest";
const INFO: &CStr = c"info.json";
const STATE: &CStr = c"state.json";
const INTENT: &CStr = c"restore.json";
const BASE: &CStr = c"base";
const BASE_NEW: &CStr = c"base.new";
const NEW: &CStr = c"new";
pub(super) const GONE: &CStr = c"gone";

/// What is remembered from one checkpoint to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Orders all checkpoints of the sprite.
    pub(super) serial: u64,
    /// The number of the last checkpoint by request, and of the last automatic one.
    pub(super) last: u64,
    pub(super) last_auto: u64,
    /// The checkpoint that the present state comes from.
    pub(super) parent: Option<String>,
    /// The restores that led to the present state, oldest first: `to=v1;time=2026-01-05T10:30:00Z`.
    pub(super) history: Vec<String>,
}

/// A restore that has begun, and the state once it is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) target: String,
    pub(super) then: State,
}

/// The checkpoints of one sprite, on disk.
#[derive(Debug)]
pub(super) struct Vault {
    home: OwnedFd,
    pub(super) dir: OwnedFd,
    /// Bytes that may still be copied into it.
    room: u64,
}

impl Vault {
    /// Of the sprite in that directory; `None` if it never had a checkpoint.
    pub(super) fn open(home: &Path) -> io::Result<Option<Self>> {
        let home = openat(CWD, home, DIRECTORY, Mode::empty())?;
        Ok(match openat(&home, CHECKPOINTS, DIRECTORY, Mode::empty()) {
            Ok(dir) => Some(Self {
                home,
                dir,
                room: u64::MAX,
            }),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        })
    }

    /// The same, made if need be.
    pub(super) fn create(home: &Path) -> io::Result<Self> {
        let home = openat(CWD, home, DIRECTORY, Mode::empty())?;
        make_dir(&home, CHECKPOINTS)?;
        let dir = openat(&home, CHECKPOINTS, DIRECTORY, Mode::empty())?;
        make_dir(&dir, OBJECTS)?;
        make_dir(&dir, GONE)?;
        fsync(&home)?;
        Ok(Self {
            home,
            dir,
            room: u64::MAX,
        })
    }

    /// The same, with so much room for new copies, in bytes.
    pub(super) fn with_room(self, room: u64) -> Self {
        Self { room, ..self }
    }

    pub(super) fn home(&self) -> BorrowedFd<'_> {
        self.home.as_fd()
    }

    pub(super) fn objects(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.dir, OBJECTS, DIRECTORY, Mode::empty())?)
    }

    pub(super) fn state(&self) -> io::Result<State> {
        Ok(read_json(&self.dir, STATE)?.unwrap_or_default())
    }

    pub(super) fn set_state(&self, state: &State) -> io::Result<()> {
        write_json(&self.dir, STATE, state)
    }

    pub(super) fn intent(&self) -> io::Result<Option<Intent>> {
        read_json(&self.dir, INTENT)
    }

    pub(super) fn set_intent(&self, intent: &Intent) -> io::Result<()> {
        cut::here()?;
        write_json(&self.dir, INTENT, intent)
    }

    pub(super) fn clear_intent(&self) -> io::Result<()> {
        cut::here()?;
        unlinkat(&self.dir, INTENT, AtFlags::empty())?;
        Ok(fsync(&self.dir)?)
    }

    /// All checkpoints, the newest first.
    pub(super) fn list(&self) -> io::Result<Vec<Info>> {
        let mut found = Vec::new();
        for name in names(&self.dir)? {
            if Info::is_id(name.to_bytes())
                && let Some(mut info) = read_info(&self.dir, &name)?
            {
                info.whole = self.manifest_size(&name)? == Some(info.manifest_bytes);
                found.push(info);
            }
        }
        found.sort_unstable_by_key(|info| std::cmp::Reverse(info.serial));
        Ok(found)
    }

    pub(super) fn get(&self, id: &str) -> io::Result<Option<Info>> {
        if !Info::is_id(id.as_bytes()) {
            return Ok(None);
        }
        let name = CString::new(id)?;
        let Some(mut info) = read_info(&self.dir, &name)? else {
            return Ok(None);
        };
        info.whole = self.manifest_size(&name)? == Some(info.manifest_bytes);
        Ok(Some(info))
    }

    fn manifest_size(&self, id: &CStr) -> io::Result<Option<u64>> {
        let checkpoint = openat(&self.dir, id, DIRECTORY, Mode::empty())?;
        match statat(&checkpoint, MANIFEST, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(size_of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn manifest(&self, id: &str) -> io::Result<ManifestReader> {
        let checkpoint = openat(&self.dir, id, DIRECTORY, Mode::empty())?;
        read_manifest(&checkpoint, MANIFEST)
    }

    /// The manifest of the last state that is known; `None` if there is none, or it can't be believed.
    pub(super) fn base(&self) -> Option<ManifestReader> {
        read_manifest(&self.dir, BASE)
            .and_then(|mut reader| reader.finish())
            .and_then(|()| read_manifest(&self.dir, BASE))
            .inspect_err(|error| tracing::debug!(%error, "no base: all files count as changed"))
            .ok()
    }

    /// Begins a checkpoint: where its manifest goes, and its new copies, at most about `most` bytes of them.
    pub(super) fn begin(&self, most: Option<u64>) -> io::Result<Build> {
        self.discard_unfinished()?;
        mkdirat(&self.dir, NEW, Mode::RWXU)?;
        let dir = openat(&self.dir, NEW, DIRECTORY, Mode::empty())?;
        mkdirat(&dir, OBJECTS, Mode::RWXU)?;
        let builds = names(&self.objects()?)?;
        let last = builds
            .iter()
            .filter_map(|name| name.to_str().ok()?.parse::<u32>().ok());
        let build = last.max().unwrap_or(0).checked_add(1).ok_or(Errno::OVERFLOW)?;
        let into = openat(&dir, OBJECTS, DIRECTORY, Mode::empty())?;
        let objects = Objects::new(into, build, most, self.room);
        let manifest = create_file(&dir, MANIFEST)?;
        Ok(Build {
            dir,
            build,
            objects,
            manifest,
        })
    }

    /// Makes a checkpoint that was built appear, as the state that everything after it comes from.
    pub(super) fn publish(&self, mut build: Build, info: &mut Info, state: &State) -> io::Result<()> {
        self.settle(&mut build, info)?;
        cut::here()?;
        renameat(&self.dir, NEW, &self.dir, info.id.as_str())?;
        cut::here()?;
        self.set_base(&build.dir, MANIFEST)?;
        self.set_state(state)
    }

    /// Makes what was built the last state that is known, and no checkpoint.
    pub(super) fn adopt(&self, mut build: Build) -> io::Result<()> {
        self.settle(&mut build, &mut Info::default())?;
        cut::here()?;
        self.set_base(&build.dir, MANIFEST)?;
        cut::here()?;
        remove(self.dir.as_fd(), NEW)
    }

    /// Puts what was built on disk, and its copies where manifests look for them.
    fn settle(&self, build: &mut Build, info: &mut Info) -> io::Result<()> {
        info.build = build.build;
        info.manifest_bytes = size_of(&fstat(&build.manifest)?);
        build.objects.flush()?;
        build.manifest.sync_all()?;
        write_json(&build.dir, INFO, info)?;
        cut::here()?;
        if build.objects.count > 0 {
            let objects = self.objects()?;
            renameat(&build.dir, OBJECTS, &objects, build.build.to_string())?;
            fsync(&objects)?;
        } else {
            unlinkat(&build.dir, OBJECTS, AtFlags::REMOVEDIR)?;
        }
        Ok(fsync(&build.dir)?)
    }

    /// A new base that is no checkpoint; to be given to [`Vault::finish_base`].
    pub(super) fn begin_base(&self) -> io::Result<File> {
        delete_file(&self.dir, BASE_NEW)?;
        create_file(&self.dir, BASE_NEW)
    }

    pub(super) fn finish_base(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        self.replace_base()
    }

    fn set_base(&self, from: &OwnedFd, name: &CStr) -> io::Result<()> {
        delete_file(&self.dir, BASE_NEW)?;
        linkat(from, name, &self.dir, BASE_NEW, AtFlags::empty())?;
        self.replace_base()
    }

    fn replace_base(&self) -> io::Result<()> {
        self.let_base_go()?;
        cut::here()?;
        renameat(&self.dir, BASE_NEW, &self.dir, BASE)?;
        Ok(fsync(&self.dir)?)
    }

    /// Sees to it that what only the base needs goes once it is replaced; `false` if a checkpoint needs all of it.
    fn let_base_go(&self) -> io::Result<bool> {
        match statat(&self.dir, BASE, AtFlags::SYMLINK_NOFOLLOW) {
            // The last name of a manifest.
            Ok(stat) if stat.st_nlink == 1 => {
                let gone = self.gone_place()?;
                linkat(&self.dir, BASE, &gone, MANIFEST, AtFlags::empty())?;
                Ok(true)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Forgets the last state that is known, if no checkpoint is of it; `sweep` then frees what only it needed.
    pub(super) fn drop_base(&self) -> io::Result<bool> {
        if !self.let_base_go()? {
            return Ok(false);
        }
        delete_file(&self.dir, BASE)?;
        fsync(&self.dir)?;
        Ok(true)
    }

    /// A new directory in `gone`.
    fn gone_place(&self) -> io::Result<OwnedFd> {
        let gone = openat(&self.dir, GONE, DIRECTORY, Mode::empty())?;
        let name = crate::random::hex_id();
        mkdirat(&gone, name.as_str(), Mode::RWXU)?;
        Ok(openat(&gone, name, DIRECTORY, Mode::empty())?)
    }

    /// Takes a checkpoint out; `sweep` then frees what only it needed.
    pub(super) fn drop_checkpoint(&self, id: &str) -> io::Result<()> {
        let gone = openat(&self.dir, GONE, DIRECTORY, Mode::empty())?;
        renameat(&self.dir, id, &gone, crate::random::hex_id())?;
        Ok(fsync(&self.dir)?)
    }

    /// Removes what a crash left of a checkpoint that was being made.
    pub(super) fn discard_unfinished(&self) -> io::Result<()> {
        if let Some(info) = read_info(&self.dir, NEW)? {
            let new = openat(&self.dir, NEW, DIRECTORY, Mode::empty())?;
            // A second name: it is the base already, which needs its copies.
            if statat(&new, MANIFEST, AtFlags::SYMLINK_NOFOLLOW)?.st_nlink == 1 {
                let objects = self.objects()?;
                remove(objects.as_fd(), &CString::new(info.build.to_string())?)?;
            }
        }
        remove(self.dir.as_fd(), NEW)
    }
}

/// A checkpoint that is being made.
#[derive(Debug)]
pub(super) struct Build {
    dir: OwnedFd,
    build: u32,
    pub(super) objects: Objects,
    pub(super) manifest: File,
}

pub(super) fn read_manifest(dir: &OwnedFd, name: &CStr) -> io::Result<ManifestReader> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Reader::new(File::from(openat(dir, name, flags, Mode::empty())?))
}

fn read_info(dir: &OwnedFd, id: &CStr) -> io::Result<Option<Info>> {
    match openat(dir, id, DIRECTORY, Mode::empty()) {
        Ok(checkpoint) => read_json(&checkpoint, INFO),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
