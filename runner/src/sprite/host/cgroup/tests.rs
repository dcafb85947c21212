//! Groups in a directory that looks like the kernel's tree, as far as plain files can.

use rustix::process::getpid;

use super::{find::OWN_GROUP, *};

const AMOUNTS: Amounts = Amounts {
    memory: 512 << 20,
    processes: 64,
};

/// A process in the top group of a tree of its own.
struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    fn new(controllers: &str, inside: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = Self { dir };
        for part in ["proc", "data", "tree"] {
            fs::create_dir(fake.path(part)).unwrap();
        }
        let mounts = format!(
            "31 25 0:27 / {} rw - cgroup2 cgroup2 rw\n",
            fake.path("tree").display()
        );
        fs::write(fake.path("proc/mountinfo"), mounts).unwrap();
        fs::write(fake.path("proc/cgroup"), "0::/\n").unwrap();
        fs::write(fake.path("tree/cgroup.controllers"), controllers).unwrap();
        fs::write(fake.path("tree/cgroup.procs"), inside).unwrap();
        fs::write(fake.path("tree/cgroup.type"), "domain\n").unwrap();
        for group in ["tree".into(), fake.own()] {
            fs::create_dir_all(fake.path(&group)).unwrap();
            fs::write(fake.path(&group).join("cgroup.subtree_control"), "").unwrap();
        }
        fake
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// The host's own group.
    fn own(&self) -> String {
        let data = fs::metadata(self.path("data")).unwrap();
        format!("tree/{PREFIX}{:x}-{:x}", data.dev(), data.ino())
    }

    fn open(&self) -> Groups {
        Groups(Tree::open(&self.path("proc"), &self.path("data"), |_| false))
    }

    fn handed(&self, group: &str) -> String {
        fs::read_to_string(self.path(group).join("cgroup.subtree_control")).unwrap()
    }
}

#[test]
fn controllers_are_handed_on_to_the_sprites_groups() {
    let fake = Fake::new("cpuset cpu io memory pids\n", "");
    let groups = fake.open();
    assert_eq!(
        groups.summary(),
        "a cgroup each (memory, processes, processor time)"
    );
    assert_eq!(groups.advice(), None);
    // Each is an order of its own, written over the one before.
    for group in ["tree", &fake.own()] {
        assert!(fake.handed(group).starts_with("+cpu"), "{}", fake.handed(group));
    }
    let bounds: Vec<_> = Controller::ALL.map(|one| one.bound(&AMOUNTS)).into();
    let expected = [
        ("memory.max", "536870912"),
        ("pids.max", "66"),
        ("cpu.weight", "100"),
    ];
    assert_eq!(bounds, expected.map(|(file, bound)| (file, bound.to_owned())));
}

#[test]
fn what_the_kernel_does_not_bound_is_said_and_the_sprite_wakes_without() {
    let fake = Fake::new("memory\n", "");
    let groups = fake.open();
    assert_eq!(groups.summary(), "a cgroup each (memory)");
    assert!(groups.advice().is_some());
    // The kernel would make the file.
    assert!(
        groups.make("agent-7", AMOUNTS).is_none(),
        "a bound that can't be set is none"
    );

    let bare = Fake::new("", "");
    assert!(
        bare.open().summary().contains("no controllers"),
        "{}",
        bare.open().summary()
    );

    let none = Groups(Tree::open(Path::new("/nonexistent"), Path::new("/"), |_| false));
    assert!(none.summary().contains("no cgroup v2 tree"), "{}", none.summary());
    assert!(none.make("agent-7", AMOUNTS).is_none());
}

#[test]
fn a_host_alone_in_its_group_moves_aside_and_one_in_company_does_not() {
    let own = getpid().as_raw_nonzero().get();
    let fake = Fake::new("memory\n", &format!("{own}\n"));
    let aside = fake.path("tree").join(OWN_GROUP);
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("cgroup.procs"), "").unwrap();
    assert_eq!(fake.open().summary(), "a cgroup each (memory)");
    let moved = fs::read_to_string(aside.join("cgroup.procs")).unwrap();
    assert_eq!(moved, own.to_string());

    let shared = Fake::new("memory\n", &format!("1\n{own}\n"));
    let groups = shared.open();
    assert!(
        groups.summary().contains("other processes"),
        "{}",
        groups.summary()
    );
    assert_eq!(shared.handed("tree"), "");
}

#[test]
fn what_an_earlier_host_left_is_removed_and_the_own_group_goes_with_the_host() {
    let fake = Fake::new("", "");
    let own = fake.path(&fake.own());
    fs::remove_file(own.join("cgroup.subtree_control")).unwrap();
    for left in ["one", "two"] {
        fs::create_dir(own.join(left)).unwrap();
    }
    // One of another data directory, whose host is gone too, and one whose host lives.
    let [gone, alive] = ["gone", "alive"].map(|name| fake.path("tree").join(format!("{PREFIX}{name}")));
    fs::create_dir_all(gone.join("three")).unwrap();
    let _lives = claim(&alive).unwrap();
    let tree = Tree::below(&fake.path("tree"), &fake.path("data")).unwrap();
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0);
    assert!(!gone.exists() && alive.is_dir());
    let group = tree.make("agent-7", AMOUNTS).unwrap();
    assert!(own.join("agent-7").is_dir() && !group.bounds_memory());
    group.end();
    assert!(!own.join("agent-7").exists());
    drop(tree);
    assert!(!own.exists());
}

/// In the kernel's own tree, with or without controllers.
#[test]
fn a_process_enters_a_group_and_is_ended_with_it_for_real() {
    let data = tempfile::tempdir().unwrap();
    let base = find::base(Path::new("/proc/self"), find::is_marked);
    let tree = match base.map(|base| Tree::below(&base, data.path())) {
        Ok(Ok(tree)) => tree,
        why => {
            // Past the harness's capture.
            let mut said = io::stderr();
            let _ = io::Write::write_all(
                &mut said,
                format!("NOT RUN: no delegated cgroup v2: {why:?}\n").as_bytes(),
            );
            return;
        }
    };
    let group = tree.make("agent-7", AMOUNTS).unwrap();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let process = Pid::from_child(&child);
    assert!(!group.holds(process));
    write(&group.entrance(), &child.id().to_string()).unwrap();
    assert!(group.holds(process));
    group.kill();
    let ended = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
    let (dir, own) = (group.dir.clone(), tree.dir.clone());
    group.end();
    drop(tree);
    assert!(!dir.exists() && !own.exists());
}
