//! Hosts: the only code that knows where it runs. The compile target chooses one.

#[cfg(target_family = "wasm")]
mod jwt;
#[cfg(not(target_family = "wasm"))]
pub mod native;
#[cfg(target_os = "wasi")]
mod spin;
#[cfg(target_family = "wasm")]
mod wasm;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod workers;
