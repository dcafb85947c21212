//! JSON shapes of the API's file endpoints.
//!
//! Invariant: as in [`wire`](super::wire), unknown fields are ignored and missing optional ones default.

use serde::{Deserialize, Serialize};

/// One entry of a directory, or a file asked for by its own path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Last component of the path.
    pub name: String,
    /// Absolute path inside the sprite.
    #[serde(default)]
    pub path: String,
    /// `file`, `directory`, `symlink` or `other`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Size in bytes.
    #[serde(default)]
    pub size: u64,
    /// Permission bits in octal, for example `0644`.
    #[serde(default)]
    pub mode: String,
    /// Last change, RFC 3339.
    #[serde(default)]
    pub mod_time: String,
    /// Whether it is a directory.
    #[serde(default)]
    pub is_dir: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileList {
    #[serde(default)]
    pub(super) path: String,
    #[serde(default)]
    pub(super) entries: Vec<FileEntry>,
    #[serde(default)]
    pub(super) count: usize,
}

/// Body of a rename, and its answer; relative paths resolve in `working_dir`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenameFile {
    pub(super) source: String,
    pub(super) dest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
}

/// Body of a copy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CopyFile {
    pub(super) source: String,
    pub(super) dest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
    /// Directories too, with everything in them.
    #[serde(default)]
    pub(super) recursive: bool,
    /// All mode bits and the times, not only the permissions.
    #[serde(default)]
    pub(super) preserve_attrs: bool,
}

/// Answer to a copy: what was asked for, as absolute paths, and how much it was.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Copied {
    pub(super) source: String,
    pub(super) dest: String,
    #[serde(default)]
    pub(super) copied: Vec<CopiedPair>,
    /// Files, directories and symlinks.
    #[serde(default)]
    pub(super) count: u64,
    #[serde(default)]
    pub(super) total_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CopiedPair {
    pub(super) source: String,
    pub(super) dest: String,
}

/// Body of a change of permissions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeMode {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
    /// Octal.
    pub(super) mode: String,
    #[serde(default)]
    pub(super) recursive: bool,
}

/// What the client of a watch sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum WatchRequest {
    /// First and only message: what to watch.
    #[serde(rename_all = "camelCase")]
    Subscribe {
        paths: Vec<String>,
        /// Directories below them too, also those that are made later.
        #[serde(default)]
        recursive: bool,
        #[serde(default)]
        working_dir: Option<String>,
    },
}

/// What the host of a watch sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum WatchMessage {
    /// From now on nothing is missed. The absolute paths that are watched.
    Subscribed { paths: Vec<String> },
    /// Something happened.
    #[serde(rename_all = "camelCase")]
    Event {
        path: String,
        event: Change,
        /// When the host saw it, RFC 3339.
        timestamp: String,
        /// Bytes, where there is a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        #[serde(default)]
        is_dir: bool,
    },
    /// The watch does not give what it promised; a sentence that says what is missing.
    Error { message: String },
}

/// What happened to a watched path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// It is there now and was not before, or came by a rename.
    Create,
    /// It has another content.
    Write,
    /// It is gone.
    Remove,
    /// It is no longer under this name.
    Rename,
    /// Its permissions, owner or times changed.
    Chmod,
}

/// Error body of the file endpoints.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct FileErrorBody {
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) path: String,
}

/// Why a file operation failed, named after POSIX errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileErrorKind {
    /// `ENOENT`: nothing at that path.
    NotFound,
    /// `EEXIST`: something is there already.
    Exists,
    /// `ENOTDIR`: a component of the path is no directory.
    NotDirectory,
    /// `EISDIR`: the path is a directory.
    IsDirectory,
    /// `ENOTEMPTY`: the directory has entries.
    NotEmpty,
    /// `EACCES`: no right to it, or outside the sprite.
    Denied,
    /// `EPERM`: nobody in the sprite may do that.
    NotPermitted,
    /// `EINVAL`, `ENAMETOOLONG`: not a usable path or argument.
    Invalid,
    /// `EIO` and everything else.
    Io,
}

impl FileErrorKind {
    /// The POSIX name the API uses on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "ENOENT",
            Self::Exists => "EEXIST",
            Self::NotDirectory => "ENOTDIR",
            Self::IsDirectory => "EISDIR",
            Self::NotEmpty => "ENOTEMPTY",
            Self::Denied => "EACCES",
            Self::NotPermitted => "EPERM",
            Self::Invalid => "EINVAL",
            Self::Io => "EIO",
        }
    }

    /// Reads the wire name; unknown names are [`FileErrorKind::Io`].
    pub fn from_code(code: &str) -> Self {
        match code {
            "ENOENT" => Self::NotFound,
            "EEXIST" => Self::Exists,
            "ENOTDIR" => Self::NotDirectory,
            "EISDIR" => Self::IsDirectory,
            "ENOTEMPTY" => Self::NotEmpty,
            "EACCES" => Self::Denied,
            "EPERM" => Self::NotPermitted,
            "EINVAL" | "ENAMETOOLONG" => Self::Invalid,
            _ => Self::Io,
        }
    }
}
