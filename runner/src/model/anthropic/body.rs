//! Anthropic Messages as a request goes out.
//!
//! Invariant: cache breakpoints (at most four: tools, system, the last two user messages) are the only bytes of a request's
//! beginning that ever change, and they are not part of what the provider compares.

use std::{borrow::Cow, sync::Arc};

use roost_shared::transcript::{Block, Message, Role};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::model::request::{ModelRequest, object};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Content<'a>>,
    messages: Messages<'a>,
    max_tokens: u32,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

/// The conversation, written as it is gone through: nothing is put together of it before.
struct Messages<'a> {
    messages: &'a [Arc<Message>],
    /// The first of the user's messages that have a breakpoint.
    marked_from: usize,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let messages = self.messages.iter().enumerate();
        serializer.collect_seq(messages.map(|(at, message)| {
            let is_marked = message.role == Role::User && at >= self.marked_from;
            WireMessage {
                role: message.role,
                content: Contents {
                    blocks: &message.blocks,
                    cache_control: is_marked.then_some(CacheControl::Ephemeral),
                },
            }
        }))
    }
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: Role,
    content: Contents<'a>,
}

struct Contents<'a> {
    blocks: &'a [Block],
    /// What its last block is marked with.
    cache_control: Option<CacheControl>,
}

impl Serialize for Contents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let last = self.blocks.iter().rposition(is_sent);
        let content = |(at, block)| {
            let is_last = Some(at) == last;
            content(block, self.cache_control.filter(|_| is_last))
        };
        serializer.collect_seq(self.blocks.iter().enumerate().filter_map(content))
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Cow<'a, Value>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Serialize, Clone, Copy)]
#[serde(tag = "type", rename_all = "snake_case")]
enum CacheControl {
    Ephemeral,
}

/// The request's body.
pub(in crate::model) fn body(request: &ModelRequest, model: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut tools: Vec<Tool<'_>> = request
        .sorted_tools()
        .into_iter()
        .map(|tool| Tool {
            name: &tool.name,
            description: &tool.description,
            input_schema: &tool.input_schema,
            cache_control: None,
        })
        .collect();
    if let Some(last) = tools.last_mut() {
        last.cache_control = Some(CacheControl::Ephemeral);
    }
    let mut system: Vec<Content<'_>> = request.system.iter().map(|text| plain(text, None)).collect();
    if let (Some(last), Some(text)) = (system.last_mut(), request.system.last()) {
        *last = plain(text, Some(CacheControl::Ephemeral));
    }
    // The last one writes the cache, the one before it reads what the turn before has written.
    let users = request.messages.iter().enumerate().rev();
    let users = users.filter(|(_, message)| message.role == Role::User).take(2);
    let messages = Messages {
        messages: &request.messages,
        marked_from: users.last().map_or(0, |(at, _)| at),
    };
    let max_tokens = request.max_tokens;
    let stream = true;
    serde_json::to_vec(&Body {
        model,
        stream,
        tools,
        system,
        messages,
        max_tokens,
    })
}

fn plain(text: &str, cache_control: Option<CacheControl>) -> Content<'_> {
    Content::Text { text, cache_control }
}

/// Thinking that the provider has not sealed would be refused.
fn is_sent(block: &Block) -> bool {
    !matches!(block, Block::Thinking { signature: None, .. })
}

fn content(block: &Block, cache_control: Option<CacheControl>) -> Option<Content<'_>> {
    Some(match block {
        Block::Text { text } => plain(text, cache_control),
        Block::Thinking {
            text: thinking,
            signature,
        } => {
            let signature = signature.as_deref()?;
            Content::Thinking { thinking, signature }
        }
        Block::RedactedThinking { data } => Content::RedactedThinking { data },
        Block::ToolCall(call) => {
            let input = object(&call.input);
            Content::ToolUse {
                id: &call.id,
                name: &call.name,
                input,
            }
        }
        Block::ToolResult(result) => Content::ToolResult {
            tool_use_id: &result.call,
            content: &result.text,
            is_error: result.is_error,
            cache_control,
        },
    })
}
