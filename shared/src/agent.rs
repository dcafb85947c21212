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
    /// What a run may use up.
    #[serde(default)]
    pub limits: RunLimits,
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
