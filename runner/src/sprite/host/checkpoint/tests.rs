//! Whole trees: taken, changed, put back; and cut short wherever a crash could come.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{XattrFlags, lsetxattr};

use super::{
    capture::is_too_much,
    cut,
    room::Used,
    sweep::sweep,
    vault::Vault,
    work::{Reason, capture, capture_with, keep, put_back, recover, remove},
};

/// A sprite's directory without a sprite.
pub(super) struct Home {
    dir: tempfile::TempDir,
    pub(super) vault: Vault,
}

impl Home {
    pub(super) fn new() -> Self {
        // In memory where that is possible: what is cut and done again here would wait for the disk thousands of times.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        fs::create_dir_all(dir.path().join("root/home")).unwrap();
        let vault = Vault::create(dir.path()).unwrap();
        Self { dir, vault }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    pub(super) fn take(&self) -> String {
        self.try_take().unwrap()
    }

    fn try_take(&self) -> io::Result<String> {
        let captured = capture(&self.vault, &BTreeSet::new())?;
        Ok(keep(&self.vault, captured, Reason::Asked(None))?.0.id)
    }

    /// As a large one is taken: most is copied ahead.
    fn take_in_two(&self) -> io::Result<String> {
        let most = capture_with(&self.vault, &BTreeSet::new(), Some(1), || {});
        assert!(most.is_err_and(|error| is_too_much(&error)));
        self.vault.adopt(capture(&self.vault, &BTreeSet::new())?.0)?;
        self.try_take()
    }

    fn ids(&self) -> Vec<String> {
        self.vault
            .list()
            .unwrap()
            .into_iter()
            .map(|info| info.id)
            .collect()
    }

    /// How many copies of files there are.
    fn objects(&self) -> usize {
        let builds = fs::read_dir(self.dir.path().join("checkpoints/objects")).unwrap();
        builds
            .map(|build| fs::read_dir(build.unwrap().path()).unwrap().count())
            .sum()
    }

    /// Everything about the tree that a restore must bring back.
    pub(super) fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        let mut first_names = BTreeMap::new();
        describe(&self.root(), Path::new(""), &mut tree, &mut first_names);
        tree
    }
}

fn describe(
    at: &Path,
    path: &Path,
    tree: &mut BTreeMap<PathBuf, String>,
    first_names: &mut BTreeMap<u64, PathBuf>,
) {
    let is = fs::symlink_metadata(at).unwrap();
    let common = format!(
        "{:o} {}:{} {}.{}",
        is.mode(),
        is.uid(),
        is.gid(),
        is.mtime(),
        is.mtime_nsec()
    );
    let what = if is.is_symlink() {
        format!("{:?}", fs::read_link(at).unwrap())
    } else if is.is_dir() {
        String::new()
    } else {
        let first = first_names.entry(is.ino()).or_insert_with(|| path.to_owned());
        format!(
            "{first:?} {} {} {:08x}",
            is.nlink(),
            is.len(),
            crc32fast::hash(&fs::read(at).unwrap())
        )
    };
    tree.insert(path.to_owned(), format!("{common} {what}"));
    if is.is_dir() {
        let mut names: Vec<_> = fs::read_dir(at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            describe(&at.join(&name), &path.join(&name), tree, first_names);
        }
    }
}

/// A tree with one of everything.
fn rich(home: &Home) {
    home.write("home/plain", "plain");
    home.write("home/empty", "");
    home.write("home/a", "two names");
    fs::hard_link(home.at("home/a"), home.at("home/z")).unwrap();
    symlink("plain", home.at("home/link")).unwrap();
    symlink("/nowhere", home.at("home/dangling")).unwrap();
    home.write("home/secret", "for its owner");
    fs::set_permissions(home.at("home/secret"), Permissions::from_mode(0o4600)).unwrap();
    let sparse = File::create(home.at("home/sparse")).unwrap();
    sparse.write_at(b"middle", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    // Deeper than directories are kept open.
    let mut deep = home.at("home");
    for _ in 0..60 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "bottom").unwrap();
    fs::create_dir(home.at("closed")).unwrap();
    home.write("closed/inside", "inside");
    fs::set_permissions(home.at("closed"), Permissions::from_mode(0o500)).unwrap();
    fs::create_dir_all(home.at("var/log/services")).unwrap();
    home.write("var/log/services/log", "the host's own");
}

/// Changes every kind of thing in it.
fn spoil(home: &Home) {
    home.write("home/plain", "other");
    fs::remove_file(home.at("home/empty")).unwrap();
    fs::create_dir_all(home.at("home/empty/now/a/directory")).unwrap();
    fs::remove_file(home.at("home/z")).unwrap();
    home.write("home/z", "a file of its own");
    fs::remove_file(home.at("home/link")).unwrap();
    symlink("elsewhere", home.at("home/link")).unwrap();
    fs::set_permissions(home.at("home/secret"), Permissions::from_mode(0o644)).unwrap();
    let deep = home.at("home").join(["d"; 30].join("/"));
    fs::remove_dir_all(&deep).unwrap();
    fs::write(&deep, "a file where a directory was").unwrap();
    fs::set_permissions(home.at("closed"), Permissions::from_mode(0o700)).unwrap();
    home.write("closed/more", "more");
    home.write("home/new", "new");
    home.write("var/log/services/log", "the host wrote on");
}

#[test]
fn a_tree_is_put_back_as_it_was_and_only_what_changed_is_copied() {
    let home = Home::new();
    rich(&home);
    let attribute = lsetxattr(home.at("home/plain"), "user.note", b"kept", XattrFlags::empty()).is_ok();
    std::thread::sleep(super::capture::SETTLED);
    let first = home.tree();
    assert_eq!(home.take(), "v1");
    let copies = home.objects();
    assert_eq!(
        copies, 7,
        "one for each file but the host's own, also of two names"
    );
    assert_eq!(
        (home.take(), home.objects()),
        ("v2".into(), copies),
        "nothing changed, nothing is copied"
    );
    let held = fs::metadata(home.dir.path().join("checkpoints/objects/1")).unwrap();
    assert!(held.is_dir());
    let blocks = |path: PathBuf| fs::metadata(path).unwrap().blocks();
    let most = (0..7).map(|number| blocks(home.dir.path().join(format!("checkpoints/objects/1/{number}"))));
    assert!(most.max().unwrap() < 1_024, "holes stay holes");

    spoil(&home);
    let second = home.tree();
    put_back(&home.vault, "v1").unwrap();
    let log = PathBuf::from("var/log/services/log");
    let (mut got, mut wanted) = (home.tree(), first);
    assert_eq!(
        fs::read_to_string(home.at("var/log/services/log")).unwrap(),
        "the host wrote on"
    );
    assert!(got.remove(&log).is_some() && wanted.remove(&log).is_some());
    assert_eq!(got, wanted);
    if attribute {
        let mut value = [0; 8];
        let length = rustix::fs::lgetxattr(home.at("home/plain"), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    // What was given up is an automatic checkpoint, with a series of its own.
    assert_eq!(home.ids(), ["auto-1", "v2", "v1"]);
    let copies = home.objects();
    put_back(&home.vault, "v1").unwrap();
    assert_eq!(home.objects(), copies, "a tree that was put back is known");
    put_back(&home.vault, "auto-1").unwrap();
    let (mut got, mut wanted) = (home.tree(), second);
    assert!(got.remove(&log).is_some() && wanted.remove(&log).is_some());
    assert_eq!(got, wanted);
    assert_eq!(home.take(), "v3");
    let info = home.vault.get("v3").unwrap().unwrap();
    assert!(info.passed("v1") && info.passed("auto-1") && !info.passed("v2"));
    assert_eq!(info.source_id.as_deref(), Some("auto-1"));
}

#[test]
fn wherever_a_restore_is_cut_it_is_finished_or_was_not_begun() {
    let home = Home::new();
    rich(&home);
    let before = home.tree();
    home.take();
    spoil(&home);
    let after = home.tree();
    home.take();
    let same = |a: &BTreeMap<PathBuf, String>| {
        let mut a = a.clone();
        a.remove(Path::new("var/log/services/log"));
        a.remove(Path::new("var/log/services"));
        a
    };
    let (before, after) = (same(&before), same(&after));
    let mut whole = 0;
    for places in 0.. {
        cut::after(Some(places));
        let done = put_back(&home.vault, "v1");
        // The crash may meet the next host as well.
        cut::after(Some(places / 2));
        let again = recover(home.dir.path());
        cut::after(None);
        recover(home.dir.path()).unwrap();
        let (tree, begun) = (same(&home.tree()), home.vault.state().unwrap());
        match begun.parent.as_deref() {
            Some("v1") => assert_eq!(tree, before, "cut after {places} places"),
            _ => assert_eq!(tree, after, "cut after {places} places"),
        }
        assert!(home.vault.list().unwrap().iter().all(|info| info.whole));
        put_back(&home.vault, "v2").unwrap();
        assert_eq!(same(&home.tree()), after, "and back, after {places} places");
        whole += u32::from(done.is_ok() && again.is_ok());
        if whole == 2 {
            assert!(places > 20, "there were places to cut at");
            break;
        }
    }
}

#[test]
fn wherever_a_checkpoint_is_cut_the_others_are_whole_and_the_next_succeeds() {
    let home = Home::new();
    for places in 0.. {
        home.write("home/file", &format!("round {places}"));
        home.write(&format!("home/{places}"), "more");
        let wanted = home.tree();
        cut::after(Some(places));
        let done = home.take_in_two();
        cut::after(None);
        recover(home.dir.path()).unwrap();
        let id = home.take();
        home.write("home/file", "spoiled");
        put_back(&home.vault, &id).unwrap();
        assert_eq!(home.tree(), wanted, "cut after {places} places");
        if done.is_ok() {
            assert!(places > 6, "there were places to cut at");
            break;
        }
    }
}

#[test]
fn what_was_copied_ahead_is_copied_once_and_what_changed_since_again() {
    let home = Home::new();
    home.write("home/same", "the same");
    home.write("home/other", "at first");
    std::thread::sleep(super::capture::SETTLED);
    let ahead = capture(&home.vault, &BTreeSet::new()).unwrap();
    home.vault.adopt(ahead.0).unwrap();
    home.write("home/other", "at last!");
    assert_eq!((home.take(), home.objects()), ("v1".into(), 3));
    home.write("home/other", "later");
    put_back(&home.vault, "v1").unwrap();
    assert_eq!(fs::read_to_string(home.at("home/other")).unwrap(), "at last!");
    sweep(&home.vault).unwrap();
    assert_eq!(
        home.objects(),
        3,
        "the one that was copied in vain is gone, and one is of the automatic checkpoint"
    );
}

#[test]
fn a_dropped_checkpoint_frees_what_only_it_needed() {
    let home = Home::new();
    home.write("home/both", "in both");
    home.write("home/first", "in the first");
    std::thread::sleep(super::capture::SETTLED);
    home.take();
    fs::remove_file(home.at("home/first")).unwrap();
    home.write("home/second", "in the second");
    home.take();
    assert_eq!(home.objects(), 3);
    remove(home.dir.path(), "v1", &Used::default()).unwrap();
    assert_eq!((home.ids(), home.objects()), (vec!["v2".to_owned()], 2));
    fs::remove_file(home.at("home/both")).unwrap();
    put_back(&home.vault, "v2").unwrap();
    assert_eq!(fs::read_to_string(home.at("home/both")).unwrap(), "in both");
    assert!(remove(home.dir.path(), "v1", &Used::default()).is_err());
    assert_eq!(home.take(), "v3", "numbers are not used again");
}

#[test]
fn damage_is_found_before_anything_is_changed() {
    let home = Home::new();
    home.write("home/file", "good");
    home.take();
    let manifest = home.dir.path().join("checkpoints/v1/manifest");
    let bytes = fs::read(&manifest).unwrap();
    fs::write(&manifest, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!home.vault.get("v1").unwrap().unwrap().whole);
    // The manifest is the base as well: a new checkpoint does without.
    home.write("home/file", "better");
    let id = home.take();
    home.write("home/file", "worse");
    put_back(&home.vault, &id).unwrap();
    assert_eq!(fs::read_to_string(home.at("home/file")).unwrap(), "better");
}
