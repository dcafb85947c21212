//! Small files and listings in an open directory.
//!
//! Invariant: nothing here follows a symlink; a JSON file is replaced whole and is on disk when the call returns.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, RawDir, fsync, mkdirat, openat, renameat, unlinkat},
    io::Errno,
};
use serde::{Serialize, de::DeserializeOwned};

/// How a directory is opened to work in it.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Our JSON files are small; this keeps a damaged one from filling memory.
const MAX_JSON_BYTES: u64 = 1 << 20;

/// The names in a directory, in no order.
pub(super) fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let dir = openat(dir, c".", DIRECTORY, Mode::empty())?;
    let mut buffer = Vec::with_capacity(8 << 10);
    let mut listing = RawDir::new(&dir, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Makes a directory, unless it is there.
pub(super) fn make_dir(dir: &OwnedFd, name: &CStr) -> io::Result<()> {
    match mkdirat(dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A new empty file, to write.
pub(super) fn create_file(dir: &OwnedFd, name: &CStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Removes a file, if it is there.
pub(super) fn delete_file(dir: &OwnedFd, name: &CStr) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads a JSON file; `None` if there is none.
pub(super) fn read_json<T: DeserializeOwned>(dir: &OwnedFd, name: &CStr) -> io::Result<Option<T>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: File = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut text = Vec::new();
    file.take(MAX_JSON_BYTES).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Replaces a file whole, and returns once it is on disk.
pub(super) fn write_json(dir: &OwnedFd, name: &CStr, value: &impl Serialize) -> io::Result<()> {
    let mut new = name.to_bytes().to_vec();
    new.extend_from_slice(b".new");
    let new = CString::new(new)?;
    let mut file = create_file(dir, &new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    renameat(dir, &new, dir, name)?;
    Ok(fsync(dir)?)
}
