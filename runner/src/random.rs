//! Unguessable names: session ids, markers, temporary files; and chance where many would do the same at once.
//!
//! Invariant: 128 bits from the kernel for each; nothing falls back to something weaker.

use rustix::rand::{GetRandomFlags, getrandom};

/// 32 hexadecimal digits nobody can guess.
pub(crate) fn hex_id() -> String {
    bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Random bytes, at most 256.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    // Requests this small are answered whole once the kernel has entropy; before that, or interrupted, ask again.
    while getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {}
    bytes
}

/// A number from 0 to 1, 1 excluded.
pub(crate) fn share() -> f64 {
    f64::from(u32::from_ne_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
