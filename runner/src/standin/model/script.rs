//! What the scripted model says, and how it fails.
//!
//! Invariant: what it says depends on the request alone, so that it is the same after a retry, a new runner or a restart of the
//! stand-in itself.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;
use roost_shared::transcript::{Block, Message, Role, StopReason, ToolCall, Usage};
use serde_json::Value;

use super::{Heard, Refusal};
use crate::model::Api;

/// What the model says in one turn.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    blocks: Vec<Block>,
    stop: Option<StopReason>,
    usage: Option<Usage>,
    numbers_anew: bool,
}

impl Turn {
    /// Text, and the end of the turn.
    pub fn say(text: impl Into<String>) -> Self {
        Self::default().and_say(text)
    }

    /// One tool call.
    pub fn call(name: impl Into<String>, input: Value) -> Self {
        Self::default().and_call(name, input)
    }

    /// Thinking, with a seal.
    pub fn think(text: impl Into<String>) -> Self {
        let mut turn = Self::default();
        turn.blocks.push(Block::Thinking {
            text: text.into(),
            signature: Some("c2NyaXB0ZWQ=".into()),
        });
        turn
    }

    /// And text.
    #[must_use]
    pub fn and_say(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text { text: text.into() });
        self
    }

    /// And a tool call. Calls get ids made of the turn's position and their own.
    #[must_use]
    pub fn and_call(mut self, name: impl Into<String>, input: Value) -> Self {
        let (id, name) = (String::new(), name.into());
        self.blocks.push(Block::ToolCall(ToolCall { id, name, input }));
        self
    }

    /// And thinking that only the provider can read; Chat Completions has no place for it.
    #[must_use]
    pub fn and_redacted_thinking(mut self, data: impl Into<String>) -> Self {
        self.blocks.push(Block::RedactedThinking { data: data.into() });
        self
    }

    /// Stops for this reason, instead of `tool_use` with calls and `end_turn` without.
    #[must_use]
    pub fn stopping(mut self, stop: StopReason) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Counts these tokens, instead of a quarter of the bytes.
    #[must_use]
    pub fn using(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Gives its calls the ids of a first answer, wherever it stands, as a server does that counts them from 0 in every answer.
    #[must_use]
    pub fn numbering_anew(mut self) -> Self {
        self.numbers_anew = true;
        self
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(super) fn stop(&self) -> StopReason {
        let calls = self
            .blocks
            .iter()
            .any(|block| matches!(block, Block::ToolCall(_)));
        let usual = if calls {
            StopReason::ToolUse
        } else {
            StopReason::EndTurn
        };
        self.stop.unwrap_or(usual)
    }

    pub(super) fn usage(&self, request_bytes: usize) -> Usage {
        let quarter = |bytes: usize| u64::try_from(bytes / 4 + 1).unwrap_or(u64::MAX);
        let said: usize = self.blocks.iter().map(block_bytes).sum();
        self.usage.unwrap_or(Usage {
            input: quarter(request_bytes),
            output: quarter(said),
            cache_read: 0,
            cache_write: 0,
        })
    }

    fn number_calls(&mut self, position: usize) {
        let position = if self.numbers_anew { 0 } else { position };
        let mut n = 0;
        for block in &mut self.blocks {
            if let Block::ToolCall(call) = block {
                call.id = format!("call_{position}_{n}");
                n += 1;
            }
        }
    }
}

fn block_bytes(block: &Block) -> usize {
    match block {
        Block::Text { text } | Block::Thinking { text, .. } => text.len(),
        Block::RedactedThinking { data } => data.len(),
        Block::ToolCall(call) => call.input.to_string().len(),
        Block::ToolResult(_) => 0,
    }
}

/// What the model is asked, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The API it is asked by.
    pub api: Api,
    /// The model that was asked for.
    pub model: &'a str,
    /// How many of its answers are in the conversation.
    pub position: usize,
    /// The system prompt.
    pub system: &'a str,
    /// The names of the tools it may ask for.
    pub tools: &'a [String],
    /// The conversation; neighbours have different roles.
    pub messages: &'a [Message],
}

impl Asked<'_> {
    /// All text of the last message, tool results included.
    pub fn last_text(&self) -> String {
        let blocks = self
            .messages
            .last()
            .map(|message| message.blocks.as_slice())
            .unwrap_or_default();
        let texts: Vec<&str> = blocks
            .iter()
            .filter_map(|block| match block {
                Block::Text { text } => Some(text.as_str()),
                Block::ToolResult(result) => Some(result.text.as_str()),
                _ => None,
            })
            .collect();
        texts.join("\n")
    }
}

type Choose = dyn Fn(&Asked<'_>) -> Turn + Send + Sync;

/// What the model says when.
#[derive(Clone)]
pub struct Script(Arc<Choose>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    /// One turn after the other, by the number of answers in the conversation; after the last it says that it is over.
    pub fn turns(turns: Vec<Turn>) -> Self {
        Self::by(move |asked| {
            turns
                .get(asked.position)
                .cloned()
                .unwrap_or_else(|| Turn::say("The script is over."))
        })
    }

    /// What `choose` says. It should depend on its argument alone.
    pub fn by(choose: impl Fn(&Asked<'_>) -> Turn + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }

    pub(super) fn turn(&self, heard: &Heard, api: Api, position: usize) -> Turn {
        let mut turn = (self.0)(&Asked {
            api,
            model: &heard.model,
            position,
            system: &heard.system,
            tools: &heard.tools,
            messages: &heard.messages,
        });
        turn.number_calls(position);
        turn
    }
}

pub(super) fn position(messages: &[Message]) -> usize {
    messages
        .iter()
        .filter(|message| message.role == Role::Assistant)
        .count()
}

/// How one request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 401, whatever the key.
    RefuseKey,
    /// 429.
    RateLimit {
        /// The wait it asks for.
        retry_after: Option<Duration>,
    },
    /// 529 (503 in Chat Completions).
    Overloaded,
    /// 500.
    ServerError,
    /// 404: no such model.
    NoSuchModel,
    /// The conversation does not fit.
    ContextExceeded,
    /// The connection breaks after so many bytes of the answer.
    Cut {
        /// Bytes.
        after: usize,
    },
    /// Nothing comes any more after so many bytes of the answer, but the connection stays.
    Stall {
        /// Bytes.
        after: usize,
    },
    /// An error event in the middle of the answer.
    ErrorInStream,
}

impl Fault {
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let refusal = match self {
            Self::RefuseKey => {
                let refusal = Refusal::new(
                    StatusCode::UNAUTHORIZED,
                    "authentication_error",
                    "invalid x-api-key",
                );
                Refusal {
                    code: Some("invalid_api_key"),
                    ..refusal
                }
            }
            Self::RateLimit { retry_after } => {
                let message = "This request would exceed your organization's rate limit.";
                let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
                Refusal {
                    code: Some("rate_limit_exceeded"),
                    retry_after: *retry_after,
                    ..refusal
                }
            }
            Self::Overloaded => {
                // 529 is no registered status, but a valid one.
                let status = StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                Refusal::new(status, "overloaded_error", "Overloaded")
            }
            Self::ServerError => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "api_error",
                "Internal server error",
            ),
            Self::NoSuchModel => {
                let refusal = Refusal::new(StatusCode::NOT_FOUND, "not_found_error", "model: no such model");
                Refusal {
                    code: Some("model_not_found"),
                    ..refusal
                }
            }
            Self::ContextExceeded => {
                let refusal = Refusal::invalid("prompt is too long: 200001 tokens > 200000 maximum");
                Refusal {
                    code: Some("context_length_exceeded"),
                    ..refusal
                }
            }
            Self::Cut { .. } | Self::Stall { .. } | Self::ErrorInStream => return None,
        };
        Some(refusal)
    }
}
