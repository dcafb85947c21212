//! How much of the disk a tree takes.
//!
//! Invariant: looking changes nothing, follows no symlink and holds few files open, however wide and deep the tree is and
//! whoever changes it meanwhile.

use std::{
    ffi::{CStr, CString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::fs::{CWD, FileType, Stat};

use super::descent::Descent;

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK: u64 = 512;

/// Bytes on the disk of everything below `root`, a directory of the host. What vanishes or can't be read meanwhile doesn't
/// count; a file with several names counts once if they are all here. `None` for a tree that is deeper than any in use and is
/// moved about while it is looked at.
pub(super) fn disk_usage(root: &Path) -> io::Result<Option<u64>> {
    let root = CString::new(root.as_os_str().as_bytes())?;
    let mut descent = Descent::to_look(CWD, &root)?;
    let mut bytes = 0;
    let mut name = CString::default();
    loop {
        while descent.take(&mut name) {
            bytes += entry(&mut descent, &name);
        }
        match descent.leave() {
            Ok(true) => {}
            Ok(false) => return Ok(Some(bytes)),
            Err(_) => return Ok(None),
        }
    }
}

/// Bytes of what has that name, which is gone into if it is a directory.
fn entry(descent: &mut Descent, name: &CStr) -> u64 {
    let Ok(Some(stat)) = descent.stat(name) else {
        return 0;
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        #[allow(clippy::useless_conversion, reason = "narrower on some architectures")]
        let names = u64::from(stat.st_nlink);
        return size(&stat) / names.max(1);
    }
    // One that is closed to its owner is closed to a host of the same user.
    drop(descent.enter(name));
    size(&stat)
}

/// Bytes on the disk of one file.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_wide_and_a_deep_tree_are_counted_with_links_once_and_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        let mut deep = inside.clone();
        for _ in 0..KEPT {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(&outside).unwrap();
        let file = vec![1; 64 << 10];
        fs::write(deep.join("file"), &file).unwrap();
        fs::hard_link(deep.join("file"), inside.join("again")).unwrap();
        fs::write(outside.join("file"), vec![1; 1 << 20]).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        let directories = (KEPT as u64 + 4) * (8 << 10);
        let used = disk_usage(&inside).unwrap().unwrap();
        assert!((64 << 10..(64 << 10) + directories).contains(&used), "{used}");
        assert!(disk_usage(&dir.path().join("absent")).is_err());
    }

    /// More than are held open on the way down.
    const KEPT: usize = 300;
}
