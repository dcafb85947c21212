//! The manifest of a checkpoint: every entry of the tree as a stream of records.
//!
//! Invariant: records stand in the order of a walk (a directory, its entries by the bytes of their names, the end of the
//! directory), so that two manifests, or a manifest and a tree, are compared in one pass with little memory. The last
//! record has a checksum of all before it; what ends without it was cut and is never believed.

use std::io;

use rustix::fs::Stat;

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// A regular file's immutable copy: which build of a checkpoint made it, and the how-manieth of that build it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Object {
    pub(super) build: u32,
    pub(super) number: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Directory,
    File {
        size: u64,
        object: Object,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of a file that stands earlier in the manifest, by its path from the root.
    Link {
        path: Vec<u8>,
    },
}

/// How a change since the checkpoint is noticed without reading the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) inode: u64,
    pub(super) ctime: Time,
    /// It may have changed later without showing it, so it counts as changed next time.
    pub(super) racy: bool,
}

/// One entry of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Empty for the root.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits, 12 of them.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    /// Names and values of its `user.*` attributes, by name.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) seen: Seen,
}

impl Entry {
    /// The entry that `stat` describes, but for its attributes.
    pub(super) fn of(name: &[u8], kind: Kind, stat: &Stat, racy: bool) -> Self {
        Self {
            name: name.to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: mtime(stat),
            attributes: Vec::new(),
            seen: Seen {
                inode: stat.st_ino,
                ctime: ctime(stat),
                racy,
            },
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    /// Whether `stat` shows the very same entry, untouched since this record was made.
    pub(super) fn untouched(&self, stat: &Stat) -> bool {
        let size = match &self.kind {
            Kind::File { size, .. } => *size == size_of(stat),
            _ => true,
        };
        let seen = &self.seen;
        size && !seen.racy
            && seen.inode == stat.st_ino
            && seen.ctime == ctime(stat)
            && self.mtime == mtime(stat)
    }
}

pub(super) fn mtime(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_mtime,
        nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    }
}

pub(super) fn ctime(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_ctime,
        nanos: u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
    }
}

pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The error of a manifest that is not whole.
pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the manifest is damaged")
}
