//! Unguessable names: session ids, markers, temporary files.
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
