//! Control groups (cgroup v2): a group per awake sprite, by which the kernel bounds all its processes together and ends them
//! at once. Only where it bounds something: to enter a group costs a waking sprite some ten milliseconds.
//!
//! Invariant: groups are made and removed only below one of the host's own, whose name is that of its data directory, and only
//! where [`find`] says so. What the kernel can't do for a group is left to rlimits and the warden, and is said when the host
//! starts; no sprite depends on a group to start or to end.

mod bounds;
mod files;
mod find;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use rustix::process::Pid;

pub(super) use bounds::Amounts;
use bounds::{Controller, hand_on};
use files::{BETWEEN_LOOKS, END_WITHIN, clear, end, processes, value, write};
use find::Missing;

/// How the name of a host's own group begins.
const PREFIX: &str = "roost-at-";
/// What keeps sprites to their amounts where the kernel doesn't.
const WATCHED: &str = "limits per process and the host's own watch";

/// The groups of one host.
#[derive(Debug)]
pub(super) struct Groups(Result<Tree, String>);

#[derive(Debug)]
struct Tree {
    /// The host's own group, of which a sprite's is a child.
    dir: PathBuf,
    /// Held for as long as the host lives, so that others know.
    _lock: File,
    controllers: BTreeSet<Controller>,
}

impl Groups {
    /// Of the host with that data directory, if this process was handed a part of the tree. What an earlier host left there
    /// is ended and removed. Blocks.
    pub(super) fn open(data_dir: &Path) -> Self {
        let is_marked = find::is_marked;
        Self(Tree::open(Path::new("/proc/self"), data_dir, is_marked))
    }

    /// None at all.
    pub(super) fn none() -> Self {
        Self(Err("it was told to do without walls".into()))
    }

    /// What the kernel does for sprites that are in groups, for people: the end of a sentence.
    pub(super) fn summary(&self) -> String {
        match &self.0 {
            Ok(tree) => {
                let bounds: Vec<_> = tree.controllers.iter().map(|one| one.for_people()).collect();
                format!("a cgroup each ({})", bounds.join(", "))
            }
            Err(_) => self.absence(),
        }
    }

    /// The same where sprites turned out to be in none.
    pub(super) fn absence(&self) -> String {
        let why = self
            .0
            .as_ref()
            .err()
            .map_or("a sprite could not enter its own", String::as_str);
        format!("no cgroups ({why}, so amounts are kept by {WATCHED})")
    }

    /// What a person can do so that the kernel bounds more; `None` if it bounds all.
    pub(super) fn advice(&self) -> Option<&'static str> {
        let whole = matches!(&self.0, Ok(tree) if tree.controllers.len() == Controller::ALL.len());
        (!whole).then_some(
            "for bounds by the kernel run the host as a service with Delegate=yes, on a machine with cgroup v2 alone",
        )
    }

    /// A new group for a sprite; `None` where there can't be one. Blocks shortly.
    pub(super) fn make(&self, sprite: &str, amounts: Amounts) -> Option<Group> {
        let tree = self.0.as_ref().ok()?;
        match tree.make(sprite, amounts) {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::warn!(%error, sprite, "the sprite has no cgroup; its memory is watched by the host alone");
                None
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.dir).and_then(|()| fs::remove_dir(&self.dir)) {
            tracing::debug!(%error, "the host's cgroup stays until its next start");
        }
    }
}

impl Tree {
    fn open(proc: &Path, data_dir: &Path, is_marked: impl Fn(&Path) -> bool) -> Result<Self, String> {
        let base = find::base(proc, is_marked).map_err(|missing| match missing {
            Missing::Tree => "this machine shows no cgroup v2 tree".to_owned(),
            Missing::Delegation(own) => format!("cgroup {own} is not delegated to the host"),
        })?;
        let mut tree = Self::below(&base, data_dir)
            .map_err(|error| format!("cgroup {} can't be used: {error}", base.display()))?;
        tree.controllers = hand_on(&base, &tree.dir)?;
        Ok(tree)
    }

    /// Below that group, without a controller yet.
    fn below(base: &Path, data_dir: &Path) -> io::Result<Self> {
        let data = fs::metadata(data_dir)?;
        sweep(base);
        // One host at a time has the directory, so nobody else uses the name.
        let dir = base.join(format!("{PREFIX}{:x}-{:x}", data.dev(), data.ino()));
        let lock = claim(&dir)?;
        clear(&dir)?;
        Ok(Self {
            dir,
            _lock: lock,
            controllers: BTreeSet::new(),
        })
    }

    fn make(&self, sprite: &str, amounts: Amounts) -> io::Result<Group> {
        let dir = self.dir.join(sprite);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a sprite whose end took too long.
                end(&dir)?;
                fs::create_dir(&dir)?;
            }
            made => made?,
        }
        let mut group = Group {
            dir,
            bounds_memory: false,
        };
        if let Err(error) = self.bound(&mut group, amounts) {
            group.end();
            return Err(error);
        }
        Ok(group)
    }

    fn bound(&self, group: &mut Group, amounts: Amounts) -> io::Result<()> {
        for controller in &self.controllers {
            let (file, bound) = controller.bound(&amounts);
            write(&group.dir.join(file), &bound)?;
            group.bounds_memory |= *controller == Controller::Memory;
        }
        if group.bounds_memory {
            // Memory that is swapped out would be beside the bound. A machine may have no swap to bound.
            let _ = write(&group.dir.join("memory.swap.max"), "0");
        }
        Ok(())
    }
}

/// One awake sprite's group.
#[derive(Debug)]
pub(super) struct Group {
    dir: PathBuf,
    bounds_memory: bool,
}

impl Group {
    /// The file to which a process writes `0` to be in the group with all it starts.
    pub(super) fn entrance(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// Whether a process is in it.
    pub(super) fn holds(&self, process: Pid) -> bool {
        processes(&self.dir).is_ok_and(|inside| inside.contains(&process.as_raw_nonzero().get()))
    }

    /// Whether the kernel keeps it to its memory.
    pub(super) fn bounds_memory(&self) -> bool {
        self.bounds_memory
    }

    /// Ends every process in it at once, if the kernel can (since 5.14).
    pub(super) fn kill(&self) {
        if let Err(error) = write(&self.dir.join("cgroup.kill"), "1") {
            tracing::debug!(%error, "the kernel ends no groups; the sprite's init does it");
        }
    }

    /// Ends what is in it and removes it. Blocks until that is done.
    pub(super) fn end(&self) {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        if let Some(kills) = value(&events, "oom_kill").filter(|kills| *kills > 0) {
            tracing::warn!(kills, group = %self.dir.display(), "the kernel ended processes of a sprite over its memory");
        }
        if let Err(error) = end(&self.dir) {
            tracing::warn!(%error, group = %self.dir.display(), "a sprite's cgroup stays until it wakes again");
        }
    }
}

/// Ends and removes the groups of hosts that live no more.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let (name, dir) = (entry.file_name(), entry.path());
        let is_host = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_host
            && let Ok(lock) = File::open(&dir)
            && lock.try_lock().is_ok()
            && let Err(error) = clear(&dir).and_then(|()| fs::remove_dir(&dir))
        {
            tracing::debug!(%error, group = %dir.display(), "a group of a host that is gone stays");
        }
    }
}

/// Makes a host's group, if it is not there, and takes the lock of it.
fn claim(dir: &Path) -> io::Result<File> {
    let late = Instant::now() + END_WITHIN;
    loop {
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Somebody who sweeps may have it for a moment, and remove it.
        match File::open(dir).map(|lock| (lock.try_lock(), lock)) {
            Ok((Ok(()), lock)) if fs::metadata(dir).is_ok_and(|there| is_same(&there, &lock)) => {
                return Ok(lock);
            }
            _ if Instant::now() < late => thread::sleep(BETWEEN_LOOKS),
            Ok((Err(error), _)) => return Err(error.into()),
            Ok(_) => return Err(io::ErrorKind::NotFound.into()),
            Err(error) => return Err(error),
        }
    }
}

fn is_same(there: &fs::Metadata, open: &File) -> bool {
    open.metadata().is_ok_and(|open| open.ino() == there.ino())
}
