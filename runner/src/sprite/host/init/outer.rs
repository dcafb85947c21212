//! The outer stage: from the host's process to the sprite's namespaces.
//!
//! Invariant: before the first namespace is made, the process is the sprite's user for good; nothing it does later could be
//! done with the host's rights. The namespaces belong to a user namespace that knows one user, the sprite's.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};
use rustix::{
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities},
};

use super::{Doing, INNER, Stop, inside, parse};

/// The sprite's user and group, as its commands see them.
pub(in crate::sprite::host) const USER: u32 = 1000;

/// What building the sprite's world takes; the inner stage drops it when the world stands.
const BUILDER: [CapabilitySet; 3] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::NET_ADMIN,
    CapabilitySet::SETPCAP,
];

/// Runs the outer stage to the sprite's end.
pub(super) fn run(orders: &str, socket: &OwnedFd) -> Result<ExitCode, Stop> {
    let Some(walls) = parse(orders)?.walls else {
        return inside(orders, socket);
    };
    if let Some(group) = walls.group {
        // The host looks whether it worked. Before all else: what is started from here on is in the group too, and the group
        // is the root of the cgroup namespace.
        let _ = fs::write(group, "0");
    }
    if let Some(user) = walls.user {
        become_user(user)?;
    }
    if Uid::current().is_root() {
        // A host that runs as root, and a sprite that was made when it did not.
        let without = io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it has no user of its own; make it anew",
        );
        return Err(without).doing("leave root");
    }
    // Changing the user hid this process's files in /proc from itself.
    set_dumpable_behavior(DumpableBehavior::Dumpable).doing("become dumpable")?;
    let (user, group) = (Uid::current(), Gid::current());
    unshare(CloneFlags::CLONE_NEWUSER).doing("make a user namespace")?;
    let map = |file: &str, line: String| {
        fs::write(format!("/proc/self/{file}"), line).doing("map the user into its namespace")
    };
    map("setgroups", "deny".into())?;
    map("uid_map", format!("{USER} {user} 1"))?;
    map("gid_map", format!("{USER} {group} 1"))?;
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(rest).doing("make mount, pid, network, ipc, host name and cgroup namespaces")?;
    hand_on_capabilities().doing("keep the builder's capabilities")?;
    let socket = socket.as_fd().try_clone_to_owned().doing("copy the socket")?;
    let status = Command::new("/proc/self/exe")
        .arg0("roost")
        .args([INNER, orders])
        .stdin(Stdio::from(socket))
        .status()
        .doing("start the inner stage")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn become_user(user: u32) -> Result<(), Stop> {
    let doing = "become the sprite's user";
    setgroups(&[]).doing(doing)?;
    setgid(Gid::from_raw(user)).doing(doing)?;
    setuid(Uid::from_raw(user)).doing(doing)
}

/// A program started by somebody who is not root in his namespace has the ambient capabilities and no others.
fn hand_on_capabilities() -> rustix::io::Result<()> {
    let all = BUILDER
        .into_iter()
        .fold(CapabilitySet::empty(), CapabilitySet::union);
    let sets = CapabilitySets {
        effective: all,
        permitted: all,
        inheritable: all,
    };
    set_capabilities(None, sets)?;
    BUILDER
        .into_iter()
        .try_for_each(|capability| configure_capability_in_ambient_set(capability, true))
}
