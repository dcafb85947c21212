//! A name in an open directory of a sprite, and all that is done to it there.
//!
//! Invariant: every system call names at most one component below an open directory and follows no symlink, so what was found
//! inside a sprite stays inside whatever is renamed meanwhile. Whatever the host creates or changes in a sprite's file system
//! it does through a method here, and through nothing else.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, chmodat, chownat, fchmod,
        fchown, fstat, fsync, linkat, mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat,
        utimensat,
    },
    io::Errno,
    process::geteuid,
};

use crate::random::hex_id;

const DRAFT_SUFFIX: &[u8] = b".roost";
const HEX_DIGITS: usize = 32;

/// Whether a place may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// The sprite's own files.
    Own,
    /// The same for every sprite of the host: its root, and what is shown of the host's programs.
    Fixed,
}

/// A name in an open directory; the name is no symlink, or is itself meant. There need not be anything of that name.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Open for path lookups at least.
    pub(super) dir: Arc<OwnedFd>,
    /// `.` for a directory reached by `..` or as the root.
    pub(super) name: OsString,
    /// The absolute path as commands see it.
    pub(super) path: PathBuf,
    pub(super) ground: Ground,
}

impl Place {
    /// `name` in `dir`: one component, never `..`.
    pub(super) fn new(
        dir: impl Into<Arc<OwnedFd>>,
        name: impl Into<OsString>,
        path: PathBuf,
        ground: Ground,
    ) -> Self {
        Self {
            dir: dir.into(),
            name: name.into(),
            path,
            ground,
        }
    }

    fn changeable(&self) -> Result<(), Errno> {
        match self.ground {
            Ground::Own => Ok(()),
            Ground::Fixed => Err(Errno::ROFS),
        }
    }

    /// What a host that runs as root makes in a sprite belongs to whom the directory belongs to.
    fn hand_over(&self, made: impl FnOnce(Uid, Gid) -> Result<(), Errno>) -> Result<(), Errno> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let owner = fstat(&self.dir)?;
        made(Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid))
    }

    /// Whether it is a directory that was reached without its name, which can be used but not moved or removed.
    pub(super) fn is_nameless(&self) -> bool {
        self.name == "."
    }

    /// What is there; of a symlink, the link itself.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Opens what is there; a symlink is refused. `flags` gets `NOFOLLOW` and `CLOEXEC` added, and creates nothing.
    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags.difference(OFlags::CREATE) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &self.name, flags, Mode::empty())?;
        if self.ground == Ground::Fixed && !self.is_nameless() {
            // The host may run as root; what it shows is what everybody may see.
            let everybody = if flags.contains(OFlags::PATH) {
                0o001
            } else {
                0o004
            };
            if fstat(&file)?.st_mode & everybody == 0 {
                return Err(Errno::ACCESS);
            }
        }
        Ok(file)
    }

    /// Opens the directory that is there.
    pub(super) fn folder(&self) -> Result<Folder, Errno> {
        Ok(Folder {
            fd: Arc::new(self.open(OFlags::RDONLY | OFlags::DIRECTORY)?),
            path: self.path.clone(),
            ground: self.ground,
        })
    }

    /// Where the symlink that is there points, as it is written.
    pub(super) fn link_target(&self) -> Result<CString, Errno> {
        readlinkat(&self.dir, &self.name, Vec::new())
    }

    /// Makes a directory.
    pub(super) fn make_dir(&self, mode: u32) -> Result<(), Errno> {
        self.changeable()?;
        mkdirat(&self.dir, &self.name, Mode::from_raw_mode(mode))?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        self.hand_over(|user, group| chownat(&self.dir, &self.name, Some(user), Some(group), flags))
    }

    /// Makes a symlink; `target` is kept as it is and resolved when somebody follows it.
    pub(super) fn make_link(&self, target: &CStr) -> Result<(), Errno> {
        self.changeable()?;
        symlinkat(target, &self.dir, &self.name)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        self.hand_over(|user, group| chownat(&self.dir, &self.name, Some(user), Some(group), flags))
    }

    /// Starts a file that takes this name once it is whole.
    pub(super) fn draft(&self) -> Result<Draft, Errno> {
        self.changeable()?;
        let (flags, mode) = (OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
        let draft = match openat(&self.dir, ".", flags | OFlags::TMPFILE, mode) {
            Ok(fd) => Draft {
                file: fd.into(),
                named: None,
            },
            // A file system without nameless files, or a kernel that takes the flag for an open of the directory.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let named = self.beside();
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = openat(&named.dir, &named.name, flags, mode)?.into();
                Draft {
                    file,
                    named: Some(named),
                }
            }
            Err(errno) => return Err(errno),
        };
        self.hand_over(|user, group| fchown(&draft.file, Some(user), Some(group)))?;
        Ok(draft)
    }

    /// An unguessable name in the same directory, for what is not whole yet.
    pub(super) fn beside(&self) -> Self {
        let name = draft_name();
        Self::new(
            Arc::clone(&self.dir),
            name.clone(),
            self.path.with_file_name(name),
            self.ground,
        )
    }

    /// Gives what is here the name `to`; a file or an empty directory there is replaced in one step.
    pub(super) fn rename_to(&self, to: &Self) -> Result<(), Errno> {
        self.changeable()?;
        to.changeable()?;
        renameat(&self.dir, &self.name, &to.dir, &to.name)
    }

    /// Removes what is there, unless it is a directory.
    pub(super) fn unlink(&self) -> Result<(), Errno> {
        self.changeable()?;
        unlinkat(&self.dir, &self.name, AtFlags::empty())
    }

    /// Removes the empty directory that is there.
    pub(super) fn remove_dir(&self) -> Result<(), Errno> {
        self.changeable()?;
        unlinkat(&self.dir, &self.name, AtFlags::REMOVEDIR)
    }

    /// Sets the permission bits of what is there; of a symlink they can't be set.
    pub(super) fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        self.changeable()?;
        // fchmod wants a file open for reading, which these very bits may forbid; its entry in /proc is the file itself.
        let found = self.open(OFlags::PATH)?;
        chmodat(
            CWD,
            proc_entry(&found),
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )
    }

    /// Sets the owner of what is there, of a symlink the link's own.
    pub(super) fn set_owner(&self, user: Option<Uid>, group: Option<Gid>) -> Result<(), Errno> {
        self.changeable()?;
        chownat(&self.dir, &self.name, user, group, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Sets when what is there was read and changed, of a symlink the link's own.
    pub(super) fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        self.changeable()?;
        utimensat(&self.dir, &self.name, times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Waits until the names in this directory are on the disk.
    pub(super) fn sync_names(&self) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&self.dir, ".", flags, Mode::empty()).and_then(fsync) {
            // A directory we may write but not read, or a file system that has nothing to wait for.
            Ok(()) | Err(Errno::ACCESS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// An open directory.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) fd: Arc<OwnedFd>,
    /// The absolute path as commands see it.
    pub(super) path: PathBuf,
    ground: Ground,
}

impl Folder {
    /// Opens a directory of the host itself.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            fd: Arc::new(openat(CWD, path, flags, Mode::empty())?),
            path: path.to_owned(),
            ground: Ground::Own,
        })
    }

    /// The names in it, in the order of the file system.
    pub(super) fn names(&self) -> Result<impl Iterator<Item = Result<OsString, Errno>>, Errno> {
        let dir = Dir::read_from(&self.fd)?;
        Ok(dir.filter_map(|entry| match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => None,
                name => Some(Ok(OsString::from_vec(name.to_vec()))),
            },
            Err(errno) => Some(Err(errno)),
        }))
    }

    /// A name in it.
    pub(super) fn place(&self, name: OsString) -> Place {
        let path = self.path.join(&name);
        Place::new(Arc::clone(&self.fd), name, path, self.ground)
    }
}

/// A file that is being written. It has no name, or one that nobody guesses, and is gone again unless it is published.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) file: File,
    named: Option<Place>,
}

impl Draft {
    /// Gives the file its mode and, in one step, the name `to`, which a file that is there loses. When this returns all of it
    /// is on the disk.
    pub(super) fn publish(self, to: &Place, mode: u32) -> Result<(), Errno> {
        fchmod(&self.file, Mode::from_raw_mode(mode))?;
        fsync(&self.file)?;
        self.take_name(to)?;
        to.sync_names()
    }

    /// As [`Draft::publish`], but does not wait for the disk.
    pub(super) fn name(self, to: &Place, mode: u32) -> Result<(), Errno> {
        fchmod(&self.file, Mode::from_raw_mode(mode))?;
        self.take_name(to)
    }

    fn take_name(mut self, to: &Place) -> Result<(), Errno> {
        if self.named.is_none() {
            match self.link(to) {
                // Who watches the directory is told of a new file then, and of a changed one below.
                Err(Errno::EXIST) => {}
                linked => return linked,
            }
            let named = to.beside();
            self.link(&named)?;
            self.named = Some(named);
        }
        if let Some(named) = &self.named {
            named.rename_to(to)?;
            self.named = None;
        }
        Ok(())
    }

    fn link(&self, to: &Place) -> Result<(), Errno> {
        linkat(
            CWD,
            proc_entry(&self.file),
            &to.dir,
            &to.name,
            AtFlags::SYMLINK_FOLLOW,
        )
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(named) = &self.named
            && let Err(error) = named.unlink()
        {
            tracing::warn!(%error, file = %named.path.display(), "an unfinished file was left behind");
        }
    }
}

fn draft_name() -> OsString {
    format!(".{}.roost", hex_id()).into()
}

/// Whether a name is one the host gives to what is not whole yet.
pub(super) fn is_draft(name: &OsStr) -> bool {
    let hex = name
        .as_bytes()
        .strip_prefix(b".")
        .and_then(|name| name.strip_suffix(DRAFT_SUFFIX));
    hex.is_some_and(|hex| hex.len() == HEX_DIGITS && hex.iter().all(u8::is_ascii_hexdigit))
}

/// The kind of file that a stat speaks of.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The name under which the kernel gives out the very file that is open, wherever it is by now.
pub(super) fn proc_entry(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn of_what_every_sprite_shares_only_what_everybody_may_see_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        let read = OFlags::RDONLY;
        let (step, closed) = (OFlags::PATH | OFlags::DIRECTORY, Some(Errno::ACCESS));
        let cases = [
            (true, 0o755, step, None),
            (true, 0o750, step, closed),
            (true, 0o751, read, closed),
            (false, 0o644, read, None),
            (false, 0o640, read, closed),
        ];
        for (is_dir, mode, flags, expected) in cases {
            if is_dir {
                fs::create_dir(&path).unwrap();
            } else {
                fs::write(&path, "").unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let folder = Folder::open(dir.path()).unwrap();
            let place = |ground| Place::new(Arc::clone(&folder.fd), "it", path.clone(), ground);
            assert_eq!(place(Ground::Fixed).open(flags).err(), expected, "{mode:o}");
            assert!(place(Ground::Own).open(flags).is_ok(), "{mode:o}");
            assert_eq!(place(Ground::Fixed).unlink(), Err(Errno::ROFS));
            assert!(is_dir && fs::remove_dir(&path).is_ok() || fs::remove_file(&path).is_ok());
        }
    }
}
