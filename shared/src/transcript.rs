//! The transcript: what a model has been told and has answered, in no provider's own format.
//!
//! Invariant kept by [`crate::run::RunState`]: every tool call in an answer is followed, in the next message, by
//! exactly one result, results first. Providers reject any other transcript, for ever after.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::MicroUsd;

/// One message of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub blocks: Vec<Block>,
}

/// Who speaks in a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever the model works for, and the tools.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// The model's thinking; sent back unchanged in tool loops.
    Thinking {
        /// The text; may be empty where the provider keeps it.
        text: String,
        /// The provider's seal over it, opaque.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Thinking that only the provider can read.
    RedactedThinking {
        /// Opaque.
        data: String,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult(ToolResult),
}

/// The model asks for a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of the call, unique within the transcript.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments: a JSON object, or whatever the model wrote in its place.
    pub input: Value,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call it answers.
    pub call: String,
    /// What the model reads.
    pub text: String,
    /// The tool says it failed.
    #[serde(default)]
    pub is_error: bool,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It has said what it wanted to say.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// It reached the answer's token limit.
    MaxTokens,
    /// It wrote a stop sequence.
    StopSequence,
    /// It pauses a long turn and wants to go on.
    PauseTurn,
    /// It (or the provider) declines.
    Refusal,
    /// The transcript no longer fits its window.
    ContextExceeded,
}

/// Tokens of one model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Read afresh.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Written to the provider's cache.
    pub cache_write: u64,
}

impl Usage {
    /// All tokens the model had before it: what counts against its window.
    pub fn context(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            output: self.output + other.output,
            cache_read: self.cache_read + other.cache_read,
            cache_write: self.cache_write + other.cache_write,
        }
    }
}

/// One complete model answer as it is journaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The model that answered, as the provider names it.
    pub model: String,
    /// What it said, in order.
    pub blocks: Vec<Block>,
    /// Why it stopped.
    pub stop: StopReason,
    /// Tokens.
    pub usage: Usage,
    /// What they cost by the price table; zero where the model has no price.
    pub cost: MicroUsd,
    /// The provider's id of the request, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Milliseconds from the request to the first byte of the answer.
    pub first_byte_ms: u64,
    /// Milliseconds from the request to the end of the answer.
    pub took_ms: u64,
}

impl Answer {
    /// The tools it asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// Its text blocks, joined by blank lines.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self
            .blocks
            .iter()
            .filter_map(|block| match block {
                Block::Text { text } if !text.is_empty() => Some(text.as_str()),
                _ => None,
            })
            .collect();
        texts.join("\n\n")
    }
}
