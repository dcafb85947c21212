//! JSON shapes of the Sprites API for the ports inside a sprite.
//!
//! Invariant: unknown fields are ignored, so that either side may be newer than the other.

use serde::{Deserialize, Serialize};

/// What happened to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PortEventKind {
    PortOpened,
    PortClosed,
}

/// A port that opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortEvent {
    #[serde(rename = "type")]
    pub(super) kind: PortEventKind,
    pub(super) port: u16,
    /// The address it listens on.
    pub(super) address: String,
    /// The process that listens.
    pub(super) pid: u32,
}

/// First message of a watch: what is open already.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "port_list")]
pub(super) struct PortList {
    pub(super) ports: Vec<PortEvent>,
}

/// First message of a client of the tunnel: where to.
#[derive(Debug, Deserialize)]
pub(super) struct TunnelTo {
    #[serde(default)]
    pub(super) host: String,
    pub(super) port: u16,
}

/// The answer to it.
#[derive(Debug, Serialize)]
pub(super) struct TunnelState {
    /// `connected` or `error`.
    pub(super) status: &'static str,
    /// `host:port`.
    pub(super) target: String,
    /// Why there is no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}
