//! Hosts: the only code that knows where it runs. The compile target chooses one.

#[cfg(not(target_family = "wasm"))]
pub mod native;
