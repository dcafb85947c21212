//! The kernel's tree of groups, as files and directories.
//!
//! Invariant: nothing here makes a file: those that are there are the kernel's. See the kernel's own cgroup-v2.rst.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long the kernel may take to end what is in a group.
pub(super) const END_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at what can't be waited for.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Ends and removes every group in a directory.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            end(&entry.path())?;
        }
    }
    Ok(())
}

/// Ends every process in a group and removes it.
pub(super) fn end(dir: &Path) -> io::Result<()> {
    // A kernel that can't is waited for: a sprite whose host is gone ends by itself.
    let _ = write(&dir.join("cgroup.kill"), "1");
    let late = Instant::now() + END_WITHIN;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < late => {
                thread::sleep(BETWEEN_LOOKS);
            }
            removed => return removed,
        }
    }
}

/// The processes in a group, not those in its children.
pub(super) fn processes(group: &Path) -> io::Result<BTreeSet<i32>> {
    let list = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The number behind a word in a file of such lines.
pub(super) fn value(lines: &str, word: &str) -> Option<u64> {
    let line = lines
        .lines()
        .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// Writes to a file of the tree, which makes its files itself.
pub(super) fn write(file: &Path, content: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(content.as_bytes())
}
