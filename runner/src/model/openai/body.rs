//! Chat Completions as a request goes out.
//!
//! Invariant: nothing is sent that one of them refuses. Thinking goes back only to a server that sent it, under the name
//! it used, and only with the tool calls it led to: some servers demand exactly that, others know no such field.

use std::borrow::Cow;

use roost_shared::transcript::{Block, Message, Role};
use serde::Serialize;
use serde_json::Value;

use super::{REASONING, REASONING_CONTENT};
use crate::model::request::{ModelRequest, object};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", content = "function", rename_all = "snake_case")]
enum Tool<'a> {
    Function {
        name: &'a str,
        description: &'a str,
        parameters: &'a Value,
    },
}

#[derive(Serialize, Default)]
struct WireMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: String,
}

/// The request's body. OpenAI's own servers have renamed `max_tokens` and refuse the old name; the others know only that.
pub(in crate::model) fn body(
    request: &ModelRequest,
    model: &str,
    own: OwnServers,
) -> Result<Vec<u8>, serde_json::Error> {
    let tools = request.sorted_tools().into_iter().map(|tool| Tool::Function {
        name: &tool.name,
        description: &tool.description,
        parameters: &tool.input_schema,
    });
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.is_empty() {
        let content = Some(Cow::Owned(request.system.join("\n\n")));
        messages.push(WireMessage {
            role: "system",
            content,
            ..WireMessage::default()
        });
    }
    for message in &request.messages {
        match message.role {
            Role::User => user(message, &mut messages),
            Role::Assistant => messages.push(assistant(message)),
        }
    }
    let (max_tokens, max_completion_tokens) = match own {
        OwnServers::Yes => (None, Some(request.max_tokens)),
        OwnServers::No => (Some(request.max_tokens), None),
    };
    serde_json::to_vec(&Body {
        model,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        tools: tools.collect(),
        messages,
        max_tokens,
        max_completion_tokens,
    })
}

/// Whether the request goes to OpenAI itself or to somebody who speaks like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum OwnServers {
    Yes,
    No,
}

impl OwnServers {
    /// By the server's host name.
    pub(in crate::model) fn of(host: &str) -> Self {
        match host == "api.openai.com" || host.ends_with(".openai.azure.com") {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

/// Each result is a message of its own; what the user says follows.
fn user<'a>(message: &'a Message, messages: &mut Vec<WireMessage<'a>>) {
    let mut texts = Vec::new();
    for block in &message.blocks {
        match block {
            Block::ToolResult(result) => {
                // The format has no place for it, so that a tool failed is said in words.
                let content = match result.is_error {
                    true => Cow::Owned(format!("The tool failed: {}", result.text)),
                    false => Cow::Borrowed(result.text.as_str()),
                };
                let (role, content, tool_call_id) = ("tool", Some(content), Some(result.call.as_str()));
                messages.push(WireMessage {
                    role,
                    content,
                    tool_call_id,
                    ..WireMessage::default()
                });
            }
            Block::Text { text } => texts.push(text.as_str()),
            _ => {}
        }
    }
    if !texts.is_empty() {
        let content = Some(join(&texts));
        messages.push(WireMessage {
            role: "user",
            content,
            ..WireMessage::default()
        });
    }
}

fn assistant(message: &Message) -> WireMessage<'_> {
    let mut texts = Vec::new();
    let mut wire = WireMessage {
        role: "assistant",
        ..WireMessage::default()
    };
    for block in &message.blocks {
        match block {
            Block::Text { text } => texts.push(text.as_str()),
            Block::Thinking { text, signature } => {
                let field = match signature.as_deref() {
                    Some(REASONING_CONTENT) => &mut wire.reasoning_content,
                    Some(REASONING) => &mut wire.reasoning,
                    _ => continue,
                };
                field.get_or_insert_default().push_str(text);
            }
            Block::ToolCall(call) => {
                let arguments = object(&call.input).to_string();
                let function = WireFunction {
                    name: &call.name,
                    arguments,
                };
                wire.tool_calls.push(WireCall {
                    id: &call.id,
                    kind: "function",
                    function,
                });
            }
            Block::RedactedThinking { .. } | Block::ToolResult(_) => {}
        }
    }
    if wire.tool_calls.is_empty() {
        wire.reasoning_content = None;
        wire.reasoning = None;
    }
    // Without calls there has to be content; with calls some servers refuse it when it is empty.
    if !texts.is_empty() || wire.tool_calls.is_empty() {
        wire.content = Some(join(&texts));
    }
    wire
}

fn join<'a>(texts: &[&'a str]) -> Cow<'a, str> {
    match texts {
        [one] => Cow::Borrowed(one),
        several => Cow::Owned(several.join("\n\n")),
    }
}
