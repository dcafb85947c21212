//! JSON shapes of the Sprites API for sprites as a whole: what they are, how they are made and changed, how they are.
//!
//! Invariant: unknown fields are ignored and missing optional ones default, so that either side may be newer than the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A sprite as the API describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpriteInfo {
    /// The host's own id of the sprite.
    #[serde(default)]
    pub id: String,
    /// Its name, unique on the host.
    pub name: String,
    /// Who owns the host.
    #[serde(default)]
    pub organization: String,
    /// `cold`, `warm` or `running`; kept as text because hosts may add more.
    #[serde(default)]
    pub status: String,
    /// Where its web server answers, if the host has such addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who may use that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_settings: Option<UrlSettings>,
    /// The size it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<SpriteConfig>,
    /// Environment of every command that brings none of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Version of what runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it was created, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When its settings last changed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// When it last began to run, RFC 3339; not remembered across restarts of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_running_at: Option<String>,
    /// When it last stopped running, RFC 3339; not remembered across restarts of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_warming_at: Option<String>,
    /// Free labels.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// The size of a sprite; what is left out is the host's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpriteConfig {
    /// Memory in MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_mb: Option<u64>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Where it lives; one host has one region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Disk in GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_gb: Option<u64>,
}

/// Who may use a sprite's own address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlSettings {
    /// `public`: anybody; `sprite`: who has the API's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// With `sprite`: `admins` or `org_users`. A host with one token keeps it and treats both alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_access: Option<String>,
}

/// How many sprites of a host are in which state, and how many may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// The organization's name.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) running: usize,
    #[serde(default)]
    pub(super) warm: usize,
    #[serde(default)]
    pub(super) cold: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) running_limit: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) warm_limit: Option<usize>,
}

/// One page of a listing of sprites.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SpritePage {
    #[serde(default)]
    pub(super) sprites: Vec<SpriteInfo>,
    #[serde(default)]
    pub(super) has_more: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next_continuation_token: Option<String>,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// One line of the stream of states: a sprite's state, or with `type` `heartbeat` nothing but the counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StateEvent {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// As in [`SpriteInfo`], or `deleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) running_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_running_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_warming_at: Option<String>,
    #[serde(default)]
    pub(super) timestamp: String,
    #[serde(default)]
    pub(super) org: Counts,
}

/// Body of a create request; what this host doesn't know is ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct CreateSprite {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<SpriteConfig>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url_settings: Option<UrlSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<String>,
    /// Wait for room instead of failing at once.
    #[serde(default)]
    pub(super) wait_for_capacity: bool,
    /// `default` or `dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<String>,
}

/// Body of an update; what is absent stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct UpdateSprite {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url_settings: Option<UrlSettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<Vec<String>>,
}

/// Answer to a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Restarted {
    pub(super) sprite_name: String,
    /// What was restarted; on one machine the sprite itself.
    pub(super) machine_id: String,
    pub(super) message: String,
}

/// Answer to a check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Checked {
    pub(super) sprite_name: String,
    pub(super) sprite_id: String,
    /// `healthy` or `unhealthy`.
    pub(super) status: String,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) checked_at: String,
    /// How long the check took, in milliseconds.
    pub(super) elapsed: f64,
}
