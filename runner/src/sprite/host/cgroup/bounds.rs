//! What the kernel bounds for a group, and how it comes to do so: controllers, handed on from group to group.
//!
//! Invariant: a controller counts as handed on only if every group on the way took the order.

use std::{collections::BTreeSet, fmt::Write as _, fs, io, path::Path};

use rustix::process::getpid;

use super::{
    files::{processes, write},
    find::OWN_GROUP,
};
use crate::sprite::host::{Limits, policy::Policies};

/// The two stages of an init, which are no processes of its sprite.
const INITS: u64 = 2;
/// A sprite's share of processor time beside others, and beside the host; the kernel's own default.
const WEIGHT: &str = "100";

/// What the kernel can bound for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Processes,
    Processor,
}

impl Controller {
    /// Every one.
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Processes, Self::Processor];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
            Self::Processor => "cpu",
        }
    }

    /// What it is about, in a sentence.
    pub(super) fn for_people(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Processor => "processor time",
        }
    }

    /// The file that sets a bound, and the bound.
    pub(super) fn bound(self, amounts: &Amounts) -> (&'static str, String) {
        match self {
            Self::Memory => ("memory.max", amounts.memory.to_string()),
            Self::Processes => ("pids.max", amounts.processes.saturating_add(INITS).to_string()),
            Self::Processor => ("cpu.weight", WEIGHT.into()),
        }
    }
}

/// What a sprite may use.
#[derive(Debug, Clone, Copy)]
pub(in crate::sprite::host) struct Amounts {
    /// Bytes of memory of all its processes together, its files in memory included.
    pub(in crate::sprite::host) memory: u64,
    /// Processes and threads at once.
    pub(in crate::sprite::host) processes: u64,
}

impl Amounts {
    /// Of a sprite with these policies.
    pub(in crate::sprite::host) fn of(policies: &Policies, limits: &Limits) -> Self {
        Self {
            memory: policies.memory_bytes(limits),
            processes: limits.processes,
        }
    }
}

/// Hands the controllers there are from `base` on to the children of `dir`, which is a child of it. Moves this process out of
/// `base` for that, if it is alone in it: a group that hands controllers on has no processes of its own.
pub(super) fn hand_on(base: &Path, dir: &Path) -> Result<BTreeSet<Controller>, String> {
    let names = |error| format!("{}: {error}", base.display());
    let there = fs::read_to_string(base.join("cgroup.controllers")).map_err(names)?;
    let there: BTreeSet<&str> = there.split_ascii_whitespace().collect();
    let wanted: Vec<_> = Controller::ALL
        .into_iter()
        .filter(|one| there.contains(one.name()))
        .collect();
    if wanted.is_empty() {
        return Err("the cgroup v2 tree here has no controllers".into());
    }
    // The root of all groups is the one without a type, and may have processes.
    if base.join("cgroup.type").exists() {
        step_aside(base)?;
    }
    let mut handed = BTreeSet::new();
    let mut refused = String::new();
    for one in wanted {
        let order = format!("+{}", one.name());
        let handing = [base, dir].map(|group| group.join("cgroup.subtree_control"));
        match handing.iter().try_for_each(|file| write(file, &order)) {
            Ok(()) => drop(handed.insert(one)),
            Err(error) => drop(write!(refused, "{}: {error}; ", one.name())),
        }
    }
    match handed.is_empty() {
        true => Err(refused.trim_end_matches("; ").to_owned()),
        false => Ok(handed),
    }
}

fn step_aside(base: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("the host can't move to a cgroup of its own: {error}");
    let own = getpid().as_raw_nonzero().get();
    let inside = processes(base).map_err(failed)?;
    if inside.is_empty() {
        return Ok(());
    }
    if inside != BTreeSet::from([own]) {
        return Err(format!(
            "other processes than the host are in cgroup {}",
            base.display()
        ));
    }
    let aside = base.join(OWN_GROUP);
    match fs::create_dir(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => write(&aside.join("cgroup.procs"), &own.to_string()).map_err(failed),
    }
}
