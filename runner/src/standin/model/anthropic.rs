//! Anthropic Messages as a request comes in: read strictly, and refused for whatever the real API refuses it.
//!
//! Invariant: what passes here is a conversation in which every tool call has its result, right after it.

use std::collections::BTreeSet;

use http::{HeaderMap, StatusCode};
use roost_shared::transcript::{Block, Message, Role, ToolCall, ToolResult};
use serde::Deserialize;
use serde_json::Value;

use super::{Heard, Refusal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the fields are there to be known; their values change nothing"
)]
struct Body {
    model: String,
    messages: Vec<WireMessage>,
    max_tokens: u64,
    #[serde(default)]
    system: Option<Words>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    top_k: Option<u64>,
    #[serde(default)]
    stop_sequences: Option<Vec<String>>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    thinking: Option<Value>,
    #[serde(default)]
    output_config: Option<Value>,
    #[serde(default)]
    service_tier: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMessage {
    role: Role,
    content: Words,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Plain(String),
    Blocks(Vec<Content>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Content {
    Text {
        text: String,
        #[serde(default)]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: serde_json::Map<String, Value>,
        #[serde(default)]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(default)]
        content: Option<Words>,
        #[serde(default)]
        is_error: bool,
        #[serde(default)]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "there to be known")]
    description: Option<String>,
    input_schema: Value,
    #[serde(default)]
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum CacheControl {
    Ephemeral {
        #[serde(default)]
        #[expect(dead_code, reason = "there to be known")]
        ttl: Option<String>,
    },
}

pub(super) fn hear(headers: &HeaderMap, body: &[u8], key: Option<&str>) -> Result<Heard, Refusal> {
    check_key(headers, key)?;
    if !headers.contains_key("anthropic-version") {
        return Err(Refusal::invalid("anthropic-version: header is required"));
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| Refusal::invalid(error.to_string()))?;
    if body.max_tokens == 0 {
        return Err(Refusal::invalid(
            "max_tokens: Input should be greater than or equal to 1",
        ));
    }
    let mut breakpoints = check_tools(&body.tools)?;
    let mut system = Vec::new();
    if let Some(words) = body.system {
        let blocks = blocks("system", words, &mut breakpoints)?;
        for block in blocks {
            match block {
                Block::Text { text } => system.push(text),
                _ => return Err(Refusal::invalid("system: only text blocks are allowed")),
            }
        }
    }
    let mut messages: Vec<Message> = Vec::new();
    for (at, message) in body.messages.into_iter().enumerate() {
        let blocks = blocks(
            &format!("messages.{at}.content"),
            message.content,
            &mut breakpoints,
        )?;
        match messages.last_mut() {
            Some(last) if last.role == message.role => last.blocks.extend(blocks),
            _ => messages.push(Message {
                role: message.role,
                blocks,
            }),
        }
    }
    if breakpoints > 4 {
        let message =
            format!("A maximum of 4 blocks with cache_control may be provided. Found {breakpoints}.");
        return Err(Refusal::invalid(message));
    }
    check_conversation(&messages)?;
    let calls = messages
        .iter()
        .flat_map(|message| &message.blocks)
        .any(|block| matches!(block, Block::ToolCall(_)));
    if calls && body.tools.is_empty() {
        return Err(Refusal::invalid(
            "tools: required where messages have tool_use blocks",
        ));
    }
    Ok(Heard {
        model: body.model,
        stream: body.stream,
        include_usage: true,
        system: system.join("\n\n"),
        tools: body.tools.into_iter().map(|tool| tool.name).collect(),
        messages,
    })
}

fn check_key(headers: &HeaderMap, key: Option<&str>) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let unauthorized = |message: &str| {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            message.to_owned(),
        )
    };
    match text("x-api-key").or(bearer) {
        None => Err(unauthorized("x-api-key header is required")),
        Some(given) if key.is_some_and(|key| key != given) => Err(unauthorized("invalid x-api-key")),
        Some(_) => Ok(()),
    }
}

fn check_tools(tools: &[Tool]) -> Result<usize, Refusal> {
    let mut names = BTreeSet::new();
    for (at, tool) in tools.iter().enumerate() {
        if !is_name(&tool.name, 128) {
            let message = format!("tools.{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'");
            return Err(Refusal::invalid(message));
        }
        if tool.input_schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(Refusal::invalid(format!(
                "tools.{at}.input_schema.type: Input should be 'object'"
            )));
        }
        if !names.insert(&tool.name) {
            return Err(Refusal::invalid("tools: Tool names must be unique."));
        }
    }
    Ok(tools.iter().filter(|tool| tool.cache_control.is_some()).count())
}

pub(super) fn is_name(name: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=longest).contains(&name.len()) && name.bytes().all(allowed)
}

fn blocks(place: &str, words: Words, breakpoints: &mut usize) -> Result<Vec<Block>, Refusal> {
    let contents = match words {
        Words::Plain(text) => vec![Content::Text {
            text,
            cache_control: None,
        }],
        Words::Blocks(contents) => contents,
    };
    if contents.is_empty() {
        return Err(Refusal::invalid(format!("{place}: content must not be empty")));
    }
    contents
        .into_iter()
        .map(|content| block(place, content, breakpoints))
        .collect()
}

fn block(place: &str, content: Content, breakpoints: &mut usize) -> Result<Block, Refusal> {
    let refused = |message: &str| Err(Refusal::invalid(format!("{place}: {message}")));
    Ok(match content {
        Content::Text { text, cache_control } => {
            *breakpoints += usize::from(cache_control.is_some());
            if text.trim().is_empty() {
                return refused("text content blocks must contain non-whitespace text");
            }
            Block::Text { text }
        }
        Content::Thinking { signature, .. } if signature.is_empty() => {
            return refused("thinking.signature: required");
        }
        Content::Thinking {
            thinking: text,
            signature,
        } => Block::Thinking {
            text,
            signature: Some(signature),
        },
        Content::RedactedThinking { data } => Block::RedactedThinking { data },
        Content::ToolUse {
            id,
            name,
            input,
            cache_control,
        } => {
            *breakpoints += usize::from(cache_control.is_some());
            if !is_name(&id, 256) || !is_name(&name, 128) {
                return refused("tool_use: id and name should match pattern '^[a-zA-Z0-9_-]+$'");
            }
            Block::ToolCall(ToolCall {
                id,
                name,
                input: Value::Object(input),
            })
        }
        Content::ToolResult {
            tool_use_id,
            content,
            is_error,
            cache_control,
        } => {
            *breakpoints += usize::from(cache_control.is_some());
            let text = match content {
                None => String::new(),
                Some(Words::Plain(text)) => text,
                Some(words) => {
                    let texts =
                        blocks(place, words, breakpoints)?
                            .into_iter()
                            .filter_map(|block| match block {
                                Block::Text { text } => Some(text),
                                _ => None,
                            });
                    texts.collect::<Vec<_>>().join("\n")
                }
            };
            Block::ToolResult(ToolResult {
                call: tool_use_id,
                text,
                is_error,
            })
        }
    })
}

fn check_conversation(messages: &[Message]) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::invalid(message));
    if messages.is_empty() {
        return refused("messages: at least one message is required".into());
    }
    let mut seen = BTreeSet::new();
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let expected = if at % 2 == 0 { Role::User } else { Role::Assistant };
        if message.role != expected {
            return refused("messages: first message must use the \"user\" role".into());
        }
        let mut calls = BTreeSet::new();
        let mut said = false;
        for block in &message.blocks {
            match (message.role, block) {
                (Role::User, Block::ToolResult(result)) => {
                    if said {
                        return refused(format!("messages.{at}: `tool_result` blocks must come first"));
                    }
                    if !open.remove(result.call.as_str()) {
                        return refused(format!(
                            "messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {}. Each \
                             `tool_result` block must have a corresponding `tool_use` block in the previous message.",
                            result.call
                        ));
                    }
                }
                (Role::Assistant, Block::ToolCall(call)) => {
                    if !seen.insert(call.id.as_str()) {
                        return refused(format!("messages.{at}: `tool_use` ids must be unique"));
                    }
                    calls.insert(call.id.as_str());
                }
                (_, Block::Text { .. }) => said = true,
                (Role::Assistant, Block::Thinking { .. } | Block::RedactedThinking { .. }) => {}
                _ => return refused(format!("messages.{at}: a block that this role can't have")),
            }
        }
        if let Some(id) = open.first() {
            return refused(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message."
            ));
        }
        if matches!(
            message.blocks.last(),
            Some(Block::Thinking { .. } | Block::RedactedThinking { .. })
        ) {
            return refused(format!(
                "messages.{at}: The final block in an assistant message cannot be `thinking`."
            ));
        }
        open = calls;
    }
    match messages.last() {
        Some(last) if last.role == Role::Assistant => refused(
            "This model does not support assistant message prefill. The conversation must end with a user message."
                .into(),
        ),
        _ => Ok(()),
    }
}
