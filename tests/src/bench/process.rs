//! What processes take of the machine, as the kernel counts it.

use std::{collections::BTreeSet, fs, time::Duration};

/// The kernel counts processor time in hundredths of a second, on every machine it runs on.
const TICK: Duration = Duration::from_millis(10);

/// The memory of processes and all their children, in bytes; pages that several share are counted once between them.
pub(super) fn memory(processes: &[u32]) -> u64 {
    family(processes)
        .into_iter()
        .filter_map(|id| {
            field(
                &fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?,
                "Pss:",
            )
        })
        .sum::<u64>()
        * 1024
}

/// The processor time that processes and their children have used so far.
pub(super) fn processor(processes: &[u32]) -> Duration {
    let ticks: u64 = family(processes)
        .into_iter()
        .filter_map(|id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        })
        .sum();
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processes and all that descend from them.
fn family(processes: &[u32]) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut family: BTreeSet<u32> = processes.iter().copied().collect();
    loop {
        let before = family.len();
        for (id, parent) in &parents {
            if family.contains(parent) {
                family.insert(*id);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_its_child_are_counted() {
        let own = memory(&[std::process::id()]);
        assert!(own > 1 << 20, "{own}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(family(&[std::process::id()]).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
