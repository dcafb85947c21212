//! Finding a path inside a sprite without ever leaving it.
//!
//! Invariant: every step is taken from an open directory, one name at a time and never through a symlink the kernel follows,
//! so neither `..` nor a symlink nor one that is swapped in meanwhile leads outside the root. Symlinks are read and
//! resolved here; an absolute one counts as commands see it: behind walls from the sprite's root, without walls it must point
//! under the root's real path.
//!
//! Behind walls a sprite owns some directories below its root; the host's programs are found where commands see them; and
//! there is nothing else.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStringExt,
            fs::{PermissionsExt, chown},
        },
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat},
    io::Errno,
};

use super::place::{Ground, Place, kind};
use crate::sprite::HOME;

/// How many symlinks one path may run through.
const MAX_LINKS: usize = 40;
const MAX_PATH_BYTES: usize = 4096;
/// How many directories are held open at once to take one path's next step.
const MAX_OPEN: usize = 256;
/// Of directories that are made on the way.
const PARENT_MODE: u32 = 0o755;
const STEP: OFlags = OFlags::PATH
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::DIRECTORY);

/// The host's directories that every sprite behind walls shows, where the host has them.
pub(super) const SYSTEM_DIRECTORIES: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The directories a sprite has for itself, below its root.
pub(super) const OWN_DIRECTORIES: [&str; 3] = ["home", "tmp", "var"];

/// The file system of one sprite.
#[derive(Debug, Clone)]
pub(super) struct Root {
    path: PathBuf,
    view: View,
}

/// How commands see the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// As `/`.
    Walled,
    /// Where it is.
    Open,
}

/// Makes a sprite's root with its directories, for the user that it runs as.
///
/// What is there is left alone, and nothing below it is looked at: it belongs to the sprite, which may have put a link in its
/// place that leads anywhere on the host.
pub(super) fn make_root(path: &Path, user: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let own = |directory: &Path, mode: u32| {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode))?;
        chown(directory, user, user)
    };
    for name in OWN_DIRECTORIES {
        let directory = path.join(name);
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        let (mode, inner) = match name {
            "home" => (0o755, Some((path.join(HOME.trim_start_matches('/')), 0o755))),
            "var" => (0o755, Some((directory.join("tmp"), 0o1777))),
            _ => (0o1777, None),
        };
        if let Some((inner, mode)) = inner {
            fs::create_dir(&inner)?;
            own(&inner, mode)?;
        }
        own(&directory, mode)?;
    }
    Ok(())
}

/// What to do with directories on the way that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parents {
    MustExist,
    Create,
}

/// What to do when the last name is a symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    /// Go where it points.
    Follow,
    /// It is the thing that is meant.
    Keep,
}

/// Why a path leads to no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It is empty, too long or has a NUL in it.
    Unusable,
    /// It leads outside the root.
    Outside,
    /// The system said so on the way.
    Errno(Errno),
}

impl From<Errno> for Lost {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Root {
    /// `path` must be absolute and free of symlinks.
    pub(super) fn new(path: PathBuf, view: View) -> Self {
        Self { path, view }
    }

    /// Whether commands see it as `/`.
    pub(super) fn is_walled(&self) -> bool {
        self.view == View::Walled
    }

    /// Where it is on the host.
    pub(super) fn host_path(&self) -> &Path {
        &self.path
    }

    /// Where commands see the root.
    pub(super) fn seen(&self) -> &Path {
        match self.view {
            View::Walled => Path::new("/"),
            View::Open => &self.path,
        }
    }

    /// What commands see in the root beside the sprite's own directories: the host's, where it has them.
    pub(super) fn shown(&self) -> Result<Vec<Place>, Errno> {
        if self.view == View::Open {
            return Ok(Vec::new());
        }
        let host = Arc::new(openat(CWD, "/", STEP, Mode::empty())?);
        let places = SYSTEM_DIRECTORIES.map(|name| {
            let path = Path::new("/").join(name);
            Place::new(Arc::clone(&host), name, path, Ground::Fixed)
        });
        Ok(places.into_iter().filter(|place| place.stat().is_ok()).collect())
    }

    /// User and group that the sprite's files belong to, as the host counts them.
    pub(super) fn owner(&self) -> Result<(u32, u32), Errno> {
        let stat = statat(CWD, self.path.join(OWN_DIRECTORIES[0]), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((stat.st_uid, stat.st_gid))
    }

    /// Finds `path`; relative ones start in `base`, which is itself a path inside the sprite.
    pub(super) fn find(
        &self,
        path: &str,
        base: &str,
        last: LastLink,
        parents: Parents,
    ) -> Result<Place, Lost> {
        if path.is_empty() || path.contains('\0') || path.len() + base.len() > MAX_PATH_BYTES {
            return Err(Lost::Unusable);
        }
        let full = if path.starts_with('/') {
            PathBuf::from(path)
        } else {
            Path::new("/").join(base).join(path)
        };
        self.walk(self.inside(&full), last, parents)
    }

    /// The part of an absolute path below the root, from either spelling where there are two.
    fn inside<'a>(&self, full: &'a Path) -> &'a Path {
        full.strip_prefix(self.seen())
            .or_else(|_| full.strip_prefix("/"))
            .unwrap_or(full)
    }

    fn walk(&self, relative: &Path, last: LastLink, parents: Parents) -> Result<Place, Lost> {
        let root = Arc::new(openat(CWD, &self.path, STEP, Mode::empty())?);
        let mut dirs: Vec<(Arc<OwnedFd>, OsString)> = Vec::new();
        let mut todo: VecDeque<OsString> = steps(relative).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                dirs.pop().ok_or(Lost::Outside)?;
                continue;
            }
            let dir = match dirs.last() {
                Some((dir, _)) => Arc::clone(dir),
                None if self.is_shown(&name) => Arc::new(openat(CWD, "/", STEP, Mode::empty())?),
                None => Arc::clone(&root),
            };
            if dirs.len() == MAX_OPEN {
                return Err(Errno::NAMETOOLONG.into());
            }
            let here = Place::new(dir, name, PathBuf::new(), self.ground(&dirs));
            let is_last = todo.is_empty();
            let found = match here.stat() {
                Ok(stat) => Some(kind(&stat)),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno.into()),
            };
            match found {
                Some(FileType::Symlink) if !is_last || last == LastLink::Follow => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = PathBuf::from(OsString::from_vec(here.link_target()?.into_bytes()));
                    let target = if target.is_absolute() {
                        dirs.clear();
                        target.strip_prefix(self.seen()).map_err(|_| Lost::Outside)?
                    } else {
                        &target
                    };
                    for step in steps(target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(step);
                    }
                }
                _ if is_last => {
                    let path = self.spell(&dirs, &here.name);
                    return Ok(Place { path, ..here });
                }
                Some(_) => dirs.push((Arc::new(here.open(STEP)?), here.name)),
                None if parents == Parents::Create => {
                    match here.make_dir(PARENT_MODE) {
                        Ok(()) => here.sync_names()?,
                        Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                    dirs.push((Arc::new(here.open(STEP)?), here.name));
                }
                None => return Err(Errno::NOENT.into()),
            }
        }
        let path = self.spell(&dirs, OsStr::new(""));
        let ground = self.ground(&dirs);
        let dir = dirs.pop().map_or(root, |(dir, _)| dir);
        Ok(Place::new(dir, ".", path, ground))
    }

    /// Whether a name in the root is one of the host's directories that every sprite sees.
    fn is_shown(&self, name: &OsStr) -> bool {
        self.view == View::Walled && SYSTEM_DIRECTORIES.iter().any(|shown| name == *shown)
    }

    /// What names in the last of these directories stand on.
    fn ground(&self, dirs: &[(Arc<OwnedFd>, OsString)]) -> Ground {
        match (self.view, dirs.first()) {
            (View::Open, _) => Ground::Own,
            (View::Walled, Some((_, first))) if OWN_DIRECTORIES.iter().any(|own| first == own) => Ground::Own,
            (View::Walled, _) => Ground::Fixed,
        }
    }

    fn spell(&self, dirs: &[(Arc<OwnedFd>, OsString)], name: &OsStr) -> PathBuf {
        let mut path = self.seen().to_owned();
        path.extend(dirs.iter().map(|(_, name)| name));
        if !name.is_empty() {
            path.push(name);
        }
        path
    }
}

/// The names of a path that take a step: no `.`, no empty ones.
fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sprite::host::resolve_law::{self, Tree};

    fn find(tree: &Tree, path: &str) -> Result<PathBuf, Lost> {
        let root = Root::new(tree.path.clone(), View::Open);
        let found = root.find(path, "/home/sprite", LastLink::Follow, Parents::MustExist);
        found.map(|place| place.path)
    }

    #[test]
    fn both_spellings_and_inner_symlinks_lead_to_the_file() {
        let tree = Tree::new();
        let file = tree.path.join("home/sprite/file");
        for path in [
            "file",
            "/home/sprite/file",
            "sub/../file",
            "good",
            "good_absolute",
            file.to_str().unwrap(),
        ] {
            assert_eq!(find(&tree, path), Ok(file.clone()), "{path}");
        }
        assert_eq!(
            find(&tree, "/"),
            Ok(tree.path.join("")).map(|path| path.components().collect())
        );
    }

    #[test]
    fn nothing_leads_outside() {
        let tree = Tree::new();
        let outside = [
            "../../../secret",
            "bad_absolute",
            "bad_relative",
            "bad_dir/secret",
            "/../secret",
        ];
        for path in outside {
            assert_eq!(find(&tree, path), Err(Lost::Outside), "{path}");
        }
        assert_eq!(find(&tree, "loop"), Err(Lost::Errno(Errno::LOOP)));
        // The real path of something outside names a place inside that is not there.
        assert_eq!(
            find(&tree, tree.outside.to_str().unwrap()),
            Err(Lost::Errno(Errno::NOENT))
        );
    }

    proptest! {
        #[test]
        fn the_law_holds_for_any_path(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            resolve_law::holds(&bytes);
        }
    }
}
