//! Where this process may make control groups of its own.
//!
//! Invariant: only a part of the tree that was handed to this process is taken: one that a service manager marked as
//! delegated, or the top of a tree that nobody else manages. Everything is read from two files of `/proc/self` and the
//! tree itself; see cgroups(7) and <https://systemd.io/CGROUP_DELEGATION/>.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::getxattr;

/// What this program calls the group it moves itself to, to be out of the way.
pub(super) const OWN_GROUP: &str = "roost-host";

/// By these a service manager marks a group whose inside it leaves alone.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// Why there is no place for groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// The machine has no cgroup v2 tree, or doesn't show it.
    Tree,
    /// The group that this process is in belongs to somebody else.
    Delegation(String),
}

/// The directory below which groups may be made. `proc`: `/proc/self`.
pub(super) fn base(proc: &Path, is_marked: impl Fn(&Path) -> bool) -> Result<PathBuf, Missing> {
    let read = |file: &str| fs::read_to_string(proc.join(file)).map_err(|_| Missing::Tree);
    let (groups, mounts) = (read("cgroup")?, read("mountinfo")?);
    let own = own_group(&groups).ok_or(Missing::Tree)?;
    let (top, mount_point) = mounts
        .lines()
        .filter_map(mount)
        .find(|(top, _)| own.starts_with(top))
        .ok_or(Missing::Tree)?;
    let below = own.strip_prefix(top).unwrap_or(own);
    let directory = mount_point.join(below);
    let parent = directory.parent().filter(|_| own != top);
    let foreign = || Missing::Delegation(own.display().to_string());
    if own.ends_with(OWN_GROUP) {
        return parent.map(Path::to_owned).ok_or_else(foreign);
    }
    if own == top || is_marked(&directory) {
        return Ok(directory);
    }
    // A service manager can start a program in a group inside the one it hands over.
    match parent {
        Some(parent) if is_marked(parent) => Ok(parent.to_owned()),
        _ => Err(foreign()),
    }
}

/// Whether a service manager has handed that group over.
pub(super) fn is_marked(directory: &Path) -> bool {
    MARKS.iter().any(|mark| {
        let mut value = [0; 8];
        getxattr(directory, *mark, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// The group of cgroup v2 in `/proc/self/cgroup`: the line of hierarchy 0, which names no controllers.
fn own_group(groups: &str) -> Option<&Path> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let whole = own.starts_with('/') && !own.ends_with(" (deleted)");
    // Outside what this process may see the path goes up.
    (whole && !own.starts_with("/..")).then_some(Path::new(own))
}

/// What is mounted of a cgroup v2 tree and where, from a line of `/proc/self/mountinfo`.
fn mount(line: &str) -> Option<(&Path, &Path)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (top, mount_point) = (fields.next()?, fields.next()?);
    let is_tree = kind.split(' ').next() == Some("cgroup2");
    is_tree.then_some((Path::new(top), Path::new(mount_point)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base for a process in `own`, where `top` of the tree is mounted on `/tree` and `marked` is delegated.
    fn found(own: &str, top: &str, marked: &str) -> Result<PathBuf, Missing> {
        let proc = tempfile::tempdir().unwrap();
        let groups = format!("4:memory:/elsewhere\n1:name=systemd:/x\n0::{own}\n");
        let mounts = format!(
            "20 1 0:5 / /proc rw - proc proc rw\n30 25 0:26 / /old rw shared:4 - cgroup cgroup rw,memory\n\
             31 25 0:27 {top} /tree rw,nosuid shared:5 - cgroup2 cgroup2 rw\n"
        );
        fs::write(proc.path().join("cgroup"), groups).unwrap();
        fs::write(proc.path().join("mountinfo"), mounts).unwrap();
        base(proc.path(), |path| path == Path::new(marked))
    }

    #[test]
    fn only_what_was_handed_over_is_taken() {
        let at = |path: &str| Ok(PathBuf::from(path));
        let foreign = |own: &str| Err(Missing::Delegation(own.into()));
        // Nobody manages the tree, or a container has one of its own.
        assert_eq!(found("/", "/", "-"), at("/tree/"));
        assert_eq!(found("/docker/1", "/docker/1", "-"), at("/tree/"));
        // A service, which is handed its group or is not.
        let service = "/system.slice/roost.service";
        assert_eq!(
            found(service, "/", "/tree/system.slice/roost.service"),
            at("/tree/system.slice/roost.service")
        );
        assert_eq!(found(service, "/", "-"), foreign(service));
        assert_eq!(found(service, "/", "/tree"), foreign(service));
        let inner = "/system.slice/roost.service/main";
        assert_eq!(
            found(inner, "/", "/tree/system.slice/roost.service"),
            at("/tree/system.slice/roost.service")
        );
        // It moved itself aside before.
        assert_eq!(found("/roost-host", "/", "-"), at("/tree"));
        // What it can't see.
        for own in ["/../other", "/gone (deleted)"] {
            assert_eq!(found(own, "/", "-"), Err(Missing::Tree), "{own}");
        }
        assert_eq!(found("/a", "/b", "-"), Err(Missing::Tree));
        assert_eq!(base(Path::new("/nonexistent"), |_| true), Err(Missing::Tree));
    }
}
