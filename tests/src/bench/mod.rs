//! Benchmarks: real processes, a loader of our own, numbers that count only if nothing was lost.

pub mod load;
