//! Processes together with everything they started.
//!
//! Invariant: only processes that belong to a session, or descend from a given one, are touched. A process is signalled through
//! a pidfd that was opened before it was looked at, so a reused pid is never hit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// New children can appear while we look; a tree that is being killed stops growing after a few rounds.
const ROUNDS: usize = 20;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    /// Whether a signal stopped it.
    stopped: bool,
}

/// Processes that were stopped here, and not by somebody of theirs.
#[derive(Debug, Default)]
pub(super) struct Stopped(Vec<OwnedFd>);

impl Stopped {
    /// Adds others.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Lets them go on.
    pub(super) fn go_on(self) {
        for process in &self.0 {
            if let Err(error) = pidfd_send_signal(process, Signal::CONT) {
                tracing::debug!(%error, "a process was gone before it could go on");
            }
        }
    }
}

/// Kills the session that `leader` leads: its process session and group, and all their descendants. Blocks shortly.
pub(super) fn kill_session(leader: Pid) {
    let leader = leader.as_raw_nonzero().get();
    signal_rounds(Signal::KILL, |processes| {
        let member =
            |process: &Process| process.session == leader || process.group == leader || process.pid == leader;
        with_descendants(
            processes,
            processes
                .iter()
                .filter(|process| member(process))
                .map(|process| process.pid),
        )
    });
}

/// Kills every process below `ancestor`, not itself. Blocks shortly.
pub(super) fn kill_descendants(ancestor: Pid) {
    let ancestor = ancestor.as_raw_nonzero().get();
    signal_rounds(Signal::KILL, |processes| below(processes, ancestor));
}

/// Stops every process below `ancestor`, not itself, that is not stopped already. Blocks shortly.
pub(super) fn stop_descendants(ancestor: Pid) -> Stopped {
    let ancestor = ancestor.as_raw_nonzero().get();
    let running = |processes: &[Process]| {
        let mut found = below(processes, ancestor);
        for process in processes.iter().filter(|process| process.stopped) {
            found.remove(&process.pid);
        }
        found
    };
    Stopped(signal_rounds(Signal::STOP, running))
}

/// The processes below `ancestor`.
pub(super) fn descendants(ancestor: Pid) -> BTreeSet<i32> {
    let processes: Vec<Process> = pids().filter_map(process).collect();
    below(&processes, ancestor.as_raw_nonzero().get())
}

/// The memory that only it holds, in bytes, of every process below each of `inits`.
pub(super) fn memory_below(inits: &[Pid]) -> Vec<BTreeMap<i32, u64>> {
    let processes: Vec<Process> = pids().filter_map(process).collect();
    let page = rustix::param::page_size() as u64;
    let own = |pid: i32| {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut pages = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
        Some(resident.saturating_sub(shared) * page)
    };
    let of = |init: &Pid| {
        below(&processes, init.as_raw_nonzero().get())
            .into_iter()
            .filter_map(|pid| Some((pid, own(pid)?)))
            .collect()
    };
    inits.iter().map(of).collect()
}

fn below(processes: &[Process], ancestor: i32) -> BTreeSet<i32> {
    let mut found = with_descendants(processes, [ancestor].into_iter());
    found.remove(&ancestor);
    found
}

/// Signals what `select` finds until a round finds nobody new: processes that are being stopped or killed start no others.
/// Returns whom it reached.
fn signal_rounds(signal: Signal, select: impl Fn(&[Process]) -> BTreeSet<i32>) -> Vec<OwnedFd> {
    let mut reached = BTreeMap::new();
    for _ in 0..ROUNDS {
        // Opened first, looked at second: the descriptor is of the process that is looked at, or of none that lives.
        let handles: Vec<(i32, OwnedFd)> = pids().filter_map(|pid| Some((pid, open(pid)?))).collect();
        let processes: Vec<Process> = handles.iter().filter_map(|(pid, _)| process(*pid)).collect();
        let selected = select(&processes);
        if selected.iter().all(|pid| reached.contains_key(pid)) {
            break;
        }
        for (pid, handle) in handles.into_iter().filter(|(pid, _)| selected.contains(pid)) {
            if let Err(error) = pidfd_send_signal(&handle, signal) {
                tracing::debug!(pid, %error, "a process was gone before the signal came");
            }
            reached.insert(pid, handle);
        }
        thread::sleep(BETWEEN_ROUNDS);
    }
    reached.into_values().collect()
}

fn with_descendants(processes: &[Process], roots: impl Iterator<Item = i32>) -> BTreeSet<i32> {
    let mut found: BTreeSet<i32> = roots.collect();
    loop {
        let before = found.len();
        found.extend(
            processes
                .iter()
                .filter(|process| found.contains(&process.parent))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(move |pid| *pid != own)
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Reads `/proc/PID/stat`; `None` for what is gone or a zombie, which no signal can end.
fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    let process = Process {
        pid,
        parent: number()?,
        group: number()?,
        session: number()?,
        stopped: state == "T",
    };
    (state != "Z" && state != "X").then_some(process)
}
