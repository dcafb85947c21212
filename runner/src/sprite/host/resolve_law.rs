//! What holds for every path, whatever it is: it leads to a place inside the sprite, or to none. For tests and the fuzzer.
//!
//! Invariant: [`holds`] depends on its bytes alone, not on what earlier ones left behind, so that a failure can be repeated.

use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{
    place::{Ground, Place},
    resolve::{LastLink, OWN_DIRECTORIES, Parents, Root, SYSTEM_DIRECTORIES, View, make_root},
};

/// Names that lead somewhere in a [`Tree`]; the last one means its root's own path on the host.
const WORDS: [&str; 24] = [
    "..",
    ".",
    "",
    "home",
    "sprite",
    "tmp",
    "var",
    "usr",
    "bin",
    "etc",
    "sub",
    "file",
    "chosen",
    "good",
    "good_absolute",
    "bad_absolute",
    "bad_relative",
    "bad_dir",
    "loop",
    "up",
    "root",
    "secret",
    "proc",
    "/",
];
/// Ends a path in the bytes of a case.
const END: u8 = 0xff;
/// Bytes from here on are characters, those below are words.
const CHARACTERS: u8 = 0x80;

/// A sprite's root with a file outside it, and symlinks of every kind.
pub(crate) struct Tree {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) outside: PathBuf,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let (path, outside) = (base.join("root"), base.join("secret"));
        fs::create_dir(&path).unwrap();
        make_root(&path, None).unwrap();
        let home = path.join("home/sprite");
        fs::create_dir_all(home.join("sub")).unwrap();
        fs::write(home.join("file"), "inside").unwrap();
        fs::write(&outside, "secret").unwrap();
        let links: [(&str, &Path); 8] = [
            ("good", Path::new("file")),
            ("good_absolute", &home.join("file")),
            ("bad_absolute", &outside),
            ("bad_relative", Path::new("../../../secret")),
            ("bad_dir", &base),
            ("loop", Path::new("loop")),
            ("up", Path::new("..")),
            ("proc", Path::new("/proc/self/root")),
        ];
        for (name, target) in links {
            symlink(target, home.join(name)).unwrap();
        }
        Self {
            _dir: dir,
            path,
            outside,
        }
    }

    /// The bytes of a case: a path, the working directory, the target of the symlink `chosen`.
    fn read(&self, bytes: &[u8]) -> String {
        let mut path = String::new();
        for byte in bytes {
            match byte.checked_sub(CHARACTERS) {
                Some(character) => path.push(character.into()),
                None => match WORDS[usize::from(*byte) % WORDS.len()] {
                    "/" => path.push_str(self.path.to_str().unwrap()),
                    word => path.extend([word, "/"]),
                },
            }
        }
        path
    }

    fn check(&self, place: &Place, view: View, path: &str) {
        let name = place.name.to_str().unwrap();
        assert!(
            name != ".." && !name.is_empty() && !name.contains('/'),
            "{path} has the name {name}"
        );
        let mut inside = match (view, place.ground) {
            (View::Open, _) => vec![self.path.clone()],
            (View::Walled, Ground::Own) => OWN_DIRECTORIES.map(|own| self.path.join(own)).into(),
            (View::Walled, Ground::Fixed) => {
                SYSTEM_DIRECTORIES.map(|shown| Path::new("/").join(shown)).into()
            }
        };
        if let Ok(file) = place.open(OFlags::RDONLY | OFlags::NONBLOCK) {
            let real = real(&file);
            let is_root = place.is_nameless() && real == self.path;
            let is_own = OWN_DIRECTORIES.contains(&name) && real == self.path.join(name);
            assert!(
                is_root || is_own || inside.iter().any(|inside| real.starts_with(inside)),
                "{path} opened {}",
                real.display()
            );
        }
        if place.ground == Ground::Fixed {
            // Names in the root itself: its own directories, and the host's that are shown.
            inside.push(self.path.clone());
            if SYSTEM_DIRECTORIES.contains(&name) {
                inside.push("/".into());
            }
        }
        let parent = real(&place.dir);
        let is_inside = |inside: &PathBuf| parent.starts_with(inside);
        assert!(
            inside.iter().any(is_inside),
            "{path} led to {name} in {}",
            parent.display()
        );
    }
}

/// Fails if the path that these bytes stand for leads out of a sprite.
pub(crate) fn holds(bytes: &[u8]) {
    thread_local!(static TREE: Tree = Tree::new());
    TREE.with(|tree| {
        let mut parts = bytes.split(|byte| *byte == END).map(|part| tree.read(part));
        let mut part = || parts.next().unwrap_or_default();
        let (path, base, target) = (part(), part(), part());
        let link = tree.path.join("home/sprite/chosen");
        // An empty target, or one that is too long, is no symlink at all.
        let linked = symlink(&target, &link);
        for view in [View::Open, View::Walled] {
            let root = Root::new(tree.path.clone(), view);
            for last in [LastLink::Follow, LastLink::Keep] {
                if let Ok(place) = root.find(&path, &base, last, Parents::MustExist) {
                    tree.check(&place, view, &path);
                }
            }
        }
        if linked.is_ok() {
            fs::remove_file(link).unwrap();
        }
    });
}

fn real(file: &impl AsRawFd) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}
