//! What a sprite may do: its policies for network, privileges and resources.
//!
//! Invariant: a policy that was accepted is kept to. What this host can't keep to it refuses with a sentence, and a policy that
//! was never given is the strict one.

pub(super) mod api;
mod network;

use serde::{Deserialize, Serialize};

pub(super) use network::{NetworkPolicy, Verdict};

use super::{Limits, syscalls::Tracing};

/// The policies of one sprite, as they are written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policies {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<NetworkPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) privileges: Option<PrivilegesPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<ResourcesPolicy>,
}

impl Policies {
    /// What its processes may reach; without a policy, the preset `defaults`.
    pub(super) fn network(&self) -> NetworkPolicy {
        self.network.clone().unwrap_or_default()
    }

    /// Whether its processes may look into each other.
    pub(super) fn tracing(&self) -> Tracing {
        match &self.privileges {
            Some(policy) if policy.profile == Profile::Minimal => Tracing::Refused,
            _ => Tracing::Allowed,
        }
    }

    /// Bytes of memory its processes may use together; the host's bound where that is less.
    pub(super) fn memory_bytes(&self, limits: &Limits) -> u64 {
        let own = self.resources.as_ref().and_then(|policy| policy.memory.as_ref());
        let own = own.map_or(u64::MAX, |memory| memory.limit_mb.saturating_mul(1 << 20));
        own.min(limits.memory_bytes)
    }
}

/// What processes may do to the machine. Nothing here can widen what the walls leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PrivilegesPolicy {
    #[serde(default)]
    profile: Profile,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default, alias = "no_new_privileges", skip_serializing_if = "Option::is_none")]
    #[serde(rename = "noNewPrivileges")]
    no_new_privileges: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Profile {
    #[default]
    #[serde(rename = "")]
    Unset,
    Minimal,
    Standard,
    Privileged,
}

impl PrivilegesPolicy {
    /// Why this host can't keep to it.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self {
                profile: Profile::Privileged,
                ..
            } => Some("this host gives no sprite more than the standard profile"),
            Self { devices, .. } if !devices.is_empty() => Some("this host gives no sprite a device"),
            Self {
                no_new_privileges: Some(false),
                ..
            } => Some("on this host no process of a sprite gains privileges, whatever it starts"),
            _ => None,
        }
    }
}

/// How much of the machine its processes may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResourcesPolicy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MemoryPolicy {
    limit_mb: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    autoscale: Option<bool>,
}

/// Less than this no shell starts in.
const LEAST_MEMORY_MB: u64 = 16;

impl ResourcesPolicy {
    /// Why this host can't keep to it.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        let memory = self.memory.as_ref()?;
        if memory.limit_mb < LEAST_MEMORY_MB {
            return Some("limit_mb must be 16 or more");
        }
        memory
            .autoscale
            .unwrap_or(false)
            .then_some("this host does not grow a sprite's memory by itself; give the limit it may reach")
    }
}
