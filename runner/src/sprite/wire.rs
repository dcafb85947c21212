//! JSON shapes of the Sprites API that client and host share.
//!
//! Invariant: unknown fields are ignored and missing optional ones default, so that either side may be newer than the other.

use serde::{Deserialize, Deserializer, Serialize};

/// One exec session of a sprite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Session id, to attach or kill. Some hosts number them; we keep text.
    #[serde(deserialize_with = "text_or_number")]
    pub id: String,
    /// The command line, arguments joined by spaces.
    #[serde(default)]
    pub command: String,
    /// Working directory.
    #[serde(default)]
    pub workdir: String,
    /// When it was started, RFC 3339.
    #[serde(default)]
    pub created: String,
    /// Output rate since the start, bytes per second.
    #[serde(default)]
    pub bytes_per_second: f64,
    /// Whether the command still runs.
    #[serde(default)]
    pub is_active: bool,
    /// When it last wrote or read something, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<String>,
    /// Whether it has a terminal.
    #[serde(default)]
    pub tty: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SessionList {
    #[serde(default)]
    pub(super) sessions: Vec<SessionInfo>,
    #[serde(default)]
    pub(super) count: usize,
}

/// Text frames from the host. Types this version doesn't know arrive as [`ServerMessage::Other`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage {
    /// First frame of every exec and attach.
    SessionInfo {
        #[serde(deserialize_with = "text_or_number")]
        session_id: String,
        #[serde(default)]
        command: String,
        #[serde(default)]
        created: i64,
        #[serde(default)]
        cols: u16,
        #[serde(default)]
        rows: u16,
        #[serde(default)]
        is_owner: bool,
        #[serde(default)]
        tty: bool,
    },
    /// How a terminal session ends; pipes use the binary exit frame.
    Exit {
        #[serde(default)]
        exit_code: i32,
    },
    #[serde(other)]
    Other,
}

/// Text frames from the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
    /// New size of the terminal in character cells.
    Resize { cols: u16, rows: u16 },
    /// Signal by name, with or without `SIG`.
    Signal { signal: String },
    #[serde(other)]
    Other,
}

/// One line of what a kill reports while it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillEvent {
    /// `signal`, `timeout`, `exited`, `killed`, `error` or `complete`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The signal that was sent, for example `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Process id of the session's first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Exit code, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

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

/// Body of a rename; relative paths resolve in `working_dir`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenameFile {
    pub(super) source: String,
    pub(super) dest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
}

/// Error body of the API in general.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ApiErrorBody {
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current_count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_seconds: Option<u64>,
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

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(u64),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}
