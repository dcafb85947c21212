//! The last step before anything of the sprite runs: give up every right that building the world took.
//!
//! Invariant: none of it can be taken back, and everything that is started inherits it: no capabilities, no new privileges,
//! files by Landlock, system calls by seccomp, numbers by rlimits. Each wall stands on its own.

use std::{fs, io};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};

use super::{Doing, Stop, wire::Walls};
use crate::sprite::host::{resolve::OWN_DIRECTORIES, syscalls};

const OPEN_FILES: u64 = 65_536;
/// When memory runs out, the kernel ends what has the highest score first; the host's own processes have 0.
const OOM_SCORE: &str = "1000";

/// Gives up what the sprite must not have; says what Landlock does on this kernel.
pub(super) fn confine(walls: &Walls) -> Result<String, Stop> {
    fs::write("/proc/self/oom_score_adj", OOM_SCORE).doing("go first when memory runs out")?;
    let limits = [
        (Resource::Nproc, walls.processes),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Data, walls.memory),
        (Resource::Fsize, walls.file),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        // What the host itself may not have, its sprites can't have either.
        let most = getrlimit(resource).maximum.map_or(most, |own| own.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).doing("set resource limits")?;
    }
    drop_capabilities().doing("drop capabilities")?;
    set_no_new_privs(true).doing("refuse new privileges")?;
    // So that nothing in the sprite can look into its init, or take its socket.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("hide from tracers")?;
    let files = restrict_files().doing("set up Landlock")?;
    syscalls::restrict(walls.tracing).doing("set up seccomp")?;
    Ok(files.into())
}

fn drop_capabilities() -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel doesn't know yet.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets)
}

/// Reading everywhere in the sprite's world, writing where the mounts allow it too. A kernel without Landlock, or with an
/// older one, restricts what it can.
fn restrict_files() -> io::Result<&'static str> {
    let files = AccessFs::from_all(ABI::V5);
    let own = OWN_DIRECTORIES.iter().map(|name| format!("/{name}"));
    let writable: Vec<String> = own.chain(["/run".into(), "/dev/shm".into()]).collect();
    let devices =
        AccessFs::from_read(ABI::V5) | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(files)?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(["/"], AccessFs::from_read(ABI::V5)))?
            .add_rules(path_beneath_rules(["/dev", "/proc"], devices))?
            .add_rules(path_beneath_rules(writable, files))?
            .restrict_self()
    };
    let status: Result<RestrictionStatus, RulesetError> = restrict();
    Ok(match status.map_err(io::Error::other)?.ruleset {
        RulesetStatus::FullyEnforced => "Landlock",
        RulesetStatus::PartiallyEnforced => "Landlock in part (an older kernel)",
        RulesetStatus::NotEnforced => "no Landlock on this kernel",
    })
}
