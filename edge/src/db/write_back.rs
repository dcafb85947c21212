//! Has the system write what it holds of a file to the disk, a slice at a time.
//!
//! A hint and no sync: nothing may rest on what it did. It is for whoever will sync the file later, and would then keep
//! everyone else from the disk for as long as all of it takes.

use std::{fs::File, io};

/// Dirty pages in a slice, on average: they are spread over the file, so that what a slice has of them goes with its share of
/// it. So few are written in the time of a commit's sync; were they fewer, all would take so long that as many come meanwhile.
const PAGES: u64 = 32;
/// Slices of a file, at most.
const SLICES: u64 = 64;

/// Writes back the `dirty` pages of the file, and waits for one slice before it begins the next: others' writes and syncs come
/// in between. Where the system has no such call (other than Linux), refuses it or fails, the rest is left to the sync, which
/// hears of a failing disk by itself.
pub(super) fn write_back(file: &File, dirty: u64) {
    let end = file.metadata().map_or(0, |file| file.len());
    let slice = end.div_ceil((dirty / PAGES).clamp(1, SLICES));
    let mut at = 0;
    while at < end && write_slice(file, at, slice).is_ok() {
        at += slice;
    }
}

/// [sync_file_range(2)](https://man7.org/linux/man-pages/man2/sync_file_range.2.html)
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate that is kept has it as a safe function")]
fn write_slice(file: &File, at: u64, length: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let number = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
    let (at, length) = (number(at)?, number(length)?);
    let write_and_wait =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: it takes numbers alone, and the descriptor is open as long as `file` is borrowed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), at, length, write_and_wait) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn write_slice(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}
