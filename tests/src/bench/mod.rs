//! Benchmarks: real processes, a loader of our own, numbers that count only if nothing was lost.

pub mod ack;
mod crew;
pub mod dispatch;
pub mod load;
mod model;
pub mod peers;
mod plenty;
mod process;
mod responder;
pub mod sprites;
mod subject;
pub mod turn;

use std::time::Duration;

/// A duration in milliseconds, with the digits that mean something.
pub(crate) fn ms(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1e3)
}

/// What the numbers were measured on, in one line.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory = read("/proc/meminfo");
    let kib: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    format!(
        "{cores} cores ({model}), {} GiB, Linux {}",
        kib >> 20,
        kernel.trim()
    )
}
