//! Cgroups of awake sprites, for real: on a machine that hands a part of its cgroup v2 tree to the host.
//!
//! What the host says it has is looked up in the kernel's own tree, from outside the host.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    host::{Host, User, processes, sh},
    report,
};

/// Less than a host waits for an init that hangs before it kills it.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Within this the processes of a command that has ended are gone.
const SETTLES: Duration = Duration::from_secs(5);

/// Checks it all, or says why not.
pub(crate) async fn are_kept(host: &Host) -> Result<(), String> {
    let Some(tree) = tree() else {
        report("NOT RUN: cgroups: this machine has no cgroup v2 tree");
        return Ok(());
    };
    let sprite = host.sprite("grouped").await;
    let mark = format!("1000.{}", u64::from(host.pid()) << 1);
    let (_, said) = sh(
        &sprite,
        &format!("sleep {mark} >/dev/null 2>&1 & disown; grep ^0:: /proc/self/cgroup"),
    )
    .await;
    let sleeper = marked(&mark)
        .await
        .ok_or_else(|| format!("no process, or more than one, has the mark: {said}"))?;
    let path = field(&format!("/proc/{sleeper}/cgroup"), "0::").ok_or("a process is in no group")?;
    if !path.ends_with("/grouped") {
        if host.user == User::Own && is_ours(&tree) {
            return Err(format!("the tree may be used, and the sprite is in {path}"));
        }
        report(&format!(
            "NOT RUN: cgroups as {:?}: no delegated cgroup v2 with controllers",
            host.user
        ));
        return Ok(());
    }
    if said.trim() != "0::/" {
        return Err(format!("the sprite sees where the host keeps its group: {said}"));
    }
    let group = tree.join(path.trim_start_matches('/'));
    for (file, bound) in [
        ("memory.max", "536870912"),
        ("pids.max", "66"),
        ("cpu.weight", "100"),
    ] {
        match fs::read_to_string(group.join(file)) {
            Ok(set) if set.trim() == bound => report(&format!("held     {file} of a sprite's cgroup")),
            Ok(set) => return Err(format!("{file} is {set}, not {bound}")),
            Err(_) => report(&format!(
                "NOT RUN: {file}: no delegated cgroup v2 with that controller"
            )),
        }
    }
    // An init that does not answer can't hold its sprite's end up.
    let init = field(&format!("/proc/{sleeper}/status"), "PPid:").and_then(|pid| pid.parse().ok());
    let init = init.and_then(Pid::from_raw).ok_or("the process has no parent")?;
    kill_process(init, Signal::STOP).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    if !host.end(&sprite).await || begun.elapsed() > AT_ONCE {
        return Err(format!(
            "a stopped sprite was not ended at once, but in {:?}",
            begun.elapsed()
        ));
    }
    if Path::new(&format!("/proc/{sleeper}")).exists() || group.exists() {
        return Err("a sprite that was deleted left a process or its group".into());
    }
    report(&format!(
        "held     as {:?}: a sprite's cgroup is ended at once and removed",
        host.user
    ));
    Ok(())
}

/// The one process that has the mark, once the shell that began it is gone.
async fn marked(mark: &str) -> Option<u32> {
    let begun = Instant::now();
    while begun.elapsed() < SETTLES {
        if let [process] = processes(mark)[..] {
            return Some(process);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// The host's own group, which is to be gone with it.
pub(crate) fn of(host: &Host) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let data = fs::metadata(host.data.path().join("host/sprite-host")).ok()?;
    let own = tree()?.join(format!("roost-at-{:x}-{:x}", data.dev(), data.ino()));
    own.exists().then_some(own)
}

/// Where the cgroup v2 tree is.
fn tree() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// Whether these tests are at the top of a tree with controllers and may use it; a host of the same user is as well.
fn is_ours(tree: &Path) -> bool {
    let own = field("/proc/self/cgroup", "0::");
    let controllers = fs::read_to_string(tree.join("cgroup.controllers")).unwrap_or_default();
    let trial = tree.join(format!("roost-test-{}", std::process::id()));
    own.as_deref() == Some("/")
        && controllers.contains("memory")
        && fs::create_dir(&trial)
            .and_then(|()| fs::remove_dir(&trial))
            .is_ok()
}

/// What follows a word at the beginning of a line.
fn field(file: &str, word: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    Some(rest.trim().to_owned())
}
