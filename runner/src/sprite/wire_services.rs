//! JSON shapes of the service endpoints.
//!
//! Invariant: unknown fields are ignored and missing optional ones default, so that either side may be newer than the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a service is: the body of its definition, and part of every answer about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Definition {
    /// In the address of a request, not in its body.
    #[serde(default)]
    pub(super) name: String,
    pub(super) cmd: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Added to the environment that every command has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dir: Option<String>,
    /// Services that have to run before it.
    #[serde(default)]
    pub(super) needs: Vec<String>,
    /// Where it listens; it counts as running once it does.
    #[serde(default)]
    pub(super) http_port: Option<u16>,
}

/// A service as the API describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ServiceInfo {
    #[serde(flatten)]
    pub(super) definition: Definition,
    pub(super) state: ServiceState,
}

/// What a service is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServiceState {
    pub(super) name: String,
    pub(super) status: Status,
    /// As commands in the sprite see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Starts after its process ended by itself, since it was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) restart_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next_restart_at: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    #[default]
    Stopped,
    Starting,
    Running,
    Stopping,
    Failed,
}

/// A line of what a service says, or of what happens to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogEvent {
    /// `stdout`, `stderr`, `started`, `stopping`, `exit`, `stopped`, `error` or `complete`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// One line without its end, or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<i32>,
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    /// With `complete`: where in the sprite the log is, by stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log_files: Option<BTreeMap<String, String>>,
}

/// Body of a request to signal a service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SignalService {
    pub(super) name: String,
    pub(super) signal: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
