//! What an agent is to the one who drives it: a version-pinned description that stays the same for a whole run.

use serde::{Deserialize, Serialize};

use crate::{AgentId, MicroUsd, sprite::SpriteOwner};

/// One version of an agent. A run ends on the version it began with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// The agent.
    pub id: AgentId,
    /// Counts up with every edit, from 1.
    pub version: i64,
    /// The name people call it by in a channel, without `@`: letters, digits, `-` and `_`.
    pub handle: String,
    /// The name people read.
    pub name: String,
    /// Who it is and how it works, in prose; becomes part of the system prompt.
    #[serde(default)]
    pub persona: String,
    /// `provider/model`, e.g. `anthropic/claude-sonnet-4-5` or `openai/gpt-5`. Providers are configured at the runner.
    pub model: String,
    /// Names of the tools it may use; empty means all.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Whose computer its runs work on.
    #[serde(default)]
    pub sprite: SpriteOwner,
    /// What becomes of messages that arrive while it is at work in their conversation.
    #[serde(default)]
    pub lane: LaneRules,
    /// What a run may use up.
    #[serde(default)]
    pub limits: RunLimits,
}

/// What becomes of a message for an agent that has an open run in the same conversation.
///
/// Whatever the rules, a message of somebody the channel vouches for never joins a run of an outsider, nor the other way
/// round: what a run may do follows from who began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneRules {
    /// Whether it joins that run.
    pub mode: LaneMode,
    /// Milliseconds a run waits for a further message before it begins; each one that comes within them is answered by the
    /// same run and makes it wait anew, up to [`LaneRules::MOST_WAITS`] times as long in all. At most
    /// [`LaneRules::MOST_DEBOUNCE_MS`].
    pub debounce_ms: u32,
}

impl LaneRules {
    /// The longest debounce: five minutes.
    pub const MOST_DEBOUNCE_MS: u32 = 300_000;
    /// A run waits for further messages at most this many times as long as the debounce.
    pub const MOST_WAITS: u32 = 10;
}

/// Whether a message joins the open run of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneMode {
    /// It does: the model reads it between two turns.
    #[default]
    Steer,
    /// It becomes a run of its own, after the open one.
    FollowUp,
    /// It waits, together with all others that come meanwhile, for one run after the open one.
    Collect,
}

impl LaneMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Steer, Self::FollowUp, Self::Collect];

    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steer => "steer",
            Self::FollowUp => "follow_up",
            Self::Collect => "collect",
        }
    }
}

/// What one run may use up before it stops with `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunLimits {
    /// Model calls.
    pub max_turns: u32,
    /// Money.
    pub max_cost: MicroUsd,
    /// Tokens the model may write in one answer.
    pub max_output_tokens: u32,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            max_turns: 100,
            max_cost: MicroUsd(5_000_000),
            max_output_tokens: 8_192,
        }
    }
}
