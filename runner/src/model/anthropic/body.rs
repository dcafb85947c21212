//! Anthropic Messages as a request goes out.
//!
//! Invariant: cache breakpoints (at most four: tools, system, the last two user messages) are the only bytes of a request's
//! beginning that ever change, and they are not part of what the provider compares.

use std::borrow::Cow;

use roost_shared::transcript::{Block, Message, Role};
use serde::Serialize;
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
    messages: Vec<WireMessage<'a>>,
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

#[derive(Serialize)]
struct WireMessage<'a> {
    role: Role,
    content: Vec<Content<'a>>,
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
    let mut system: Vec<Content<'_>> = request.system.iter().map(|text| plain(text)).collect();
    if let Some(last) = system.last_mut() {
        set_breakpoint(last);
    }
    let mut messages: Vec<WireMessage<'_>> = request.messages.iter().map(|message| wire(message)).collect();
    // The last one writes the cache, the one before it reads what the turn before has written.
    let users = messages
        .iter_mut()
        .rev()
        .filter(|message| message.role == Role::User);
    for message in users.take(2) {
        if let Some(last) = message.content.last_mut() {
            set_breakpoint(last);
        }
    }
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

fn plain(text: &str) -> Content<'_> {
    let cache_control = None;
    Content::Text { text, cache_control }
}

fn set_breakpoint(content: &mut Content<'_>) {
    match content {
        Content::Text { cache_control, .. } | Content::ToolResult { cache_control, .. } => {
            *cache_control = Some(CacheControl::Ephemeral);
        }
        Content::Thinking { .. } | Content::RedactedThinking { .. } | Content::ToolUse { .. } => {}
    }
}

fn wire(message: &Message) -> WireMessage<'_> {
    let content = message.blocks.iter().filter_map(content).collect();
    WireMessage {
        role: message.role,
        content,
    }
}

fn content(block: &Block) -> Option<Content<'_>> {
    Some(match block {
        Block::Text { text } => plain(text),
        // Thinking that the provider has not sealed would be refused.
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
            cache_control: None,
        },
    })
}
