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
