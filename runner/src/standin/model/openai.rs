//! Chat Completions as a request comes in: read strictly, and refused for whatever the real servers refuse it.
//!
//! Invariant: what passes here is a conversation in which every tool call has its result, right after it.

use std::collections::BTreeSet;

use http::{HeaderMap, StatusCode};
use roost_shared::transcript::{Block, Message, Role, ToolCall, ToolResult};
use serde::Deserialize;
use serde_json::Value;

use super::{Heard, Refusal, anthropic::is_name};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the fields are there to be known; their values change nothing"
)]
struct Body {
    model: String,
    messages: Vec<WireMessage>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    stop: Option<Value>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    reasoning_effort: Option<String>,
    #[serde(default)]
    prompt_cache_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(tag = "role", rename_all = "snake_case", deny_unknown_fields)]
enum WireMessage {
    #[serde(alias = "developer")]
    System {
        content: Words,
    },
    User {
        content: Words,
    },
    Assistant {
        #[serde(default)]
        content: Option<Words>,
        #[serde(default)]
        tool_calls: Vec<Call>,
        #[serde(default)]
        reasoning_content: Option<String>,
        #[serde(default)]
        reasoning: Option<String>,
    },
    Tool {
        content: Words,
        tool_call_id: String,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Plain(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text { text: String },
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "function", rename_all = "snake_case")]
enum Tool {
    Function(Function),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "there to be known")]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(default)]
    #[expect(dead_code, reason = "there to be known")]
    strict: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    function: Called,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    name: String,
    arguments: String,
}

pub(super) fn hear(headers: &HeaderMap, body: &[u8], key: Option<&str>) -> Result<Heard, Refusal> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    let unauthorized = |message: &str| {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
        Refusal {
            code: Some("invalid_api_key"),
            ..refusal
        }
    };
    match given {
        None => return Err(unauthorized("You didn't provide an API key.")),
        Some(given) if key.is_some_and(|key| key != given) => {
            return Err(unauthorized("Incorrect API key provided."));
        }
        Some(_) => {}
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| Refusal::invalid(error.to_string()))?;
    if body.stream_options.is_some() && !body.stream {
        return Err(Refusal::invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    if body.max_tokens.is_some() && body.max_completion_tokens.is_some() {
        return Err(Refusal::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ));
    }
    if [body.max_tokens, body.max_completion_tokens].contains(&Some(0)) {
        return Err(Refusal::invalid(
            "Invalid 'max_tokens': integer below minimum value.",
        ));
    }
    let mut tools = Vec::new();
    for (at, Tool::Function(function)) in body.tools.into_iter().enumerate() {
        let object = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("object");
        if !is_name(&function.name, 64) || !function.parameters.as_ref().is_none_or(object) {
            return Err(Refusal::invalid(format!("Invalid 'tools[{at}].function'.")));
        }
        tools.push(function.name);
    }
    let (system, messages) = conversation(body.messages)?;
    Ok(Heard {
        model: body.model,
        stream: body.stream,
        include_usage: body.stream_options.is_some_and(|options| options.include_usage),
        system,
        tools,
        messages,
    })
}

fn text(words: Words) -> String {
    match words {
        Words::Plain(text) => text,
        Words::Parts(parts) => parts.into_iter().map(|Part::Text { text }| text).collect(),
    }
}

/// Joins what follows one another in one role, and checks that results follow calls.
fn conversation(wire: Vec<WireMessage>) -> Result<(String, Vec<Message>), Refusal> {
    let refused = |message: String| Err(Refusal::invalid(message));
    let (mut system, mut messages) = (Vec::new(), Vec::<Message>::new());
    let (mut seen, mut open) = (BTreeSet::new(), BTreeSet::<String>::new());
    for (at, message) in wire.into_iter().enumerate() {
        if let (Some(id), false) = (open.first(), matches!(message, WireMessage::Tool { .. })) {
            return refused(format!(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
                 'tool_call_id'. The following tool_call_ids did not have response messages: {id}"
            ));
        }
        let (role, blocks) = match message {
            WireMessage::System { content } => {
                system.push(text(content));
                continue;
            }
            WireMessage::User { content } => (Role::User, vec![Block::Text { text: text(content) }]),
            WireMessage::Tool {
                content,
                tool_call_id: call,
            } => {
                if !open.remove(&call) {
                    return refused(format!(
                        "Invalid parameter: messages.[{at}] with role 'tool' must be a response to a preceding message \
                         with 'tool_calls'."
                    ));
                }
                let (text, is_error) = (text(content), false);
                (
                    Role::User,
                    vec![Block::ToolResult(ToolResult { call, text, is_error })],
                )
            }
            WireMessage::Assistant {
                content,
                tool_calls,
                reasoning_content,
                reasoning,
            } => {
                if content.is_none() && tool_calls.is_empty() {
                    return refused(format!(
                        "Invalid value for 'messages[{at}].content': expected a string, got null."
                    ));
                }
                let thinking = reasoning_content.or(reasoning);
                if thinking.is_some() && tool_calls.is_empty() {
                    return refused(format!("messages[{at}]: reasoning belongs to tool calls"));
                }
                let thinking = thinking.map(|text| Block::Thinking {
                    text,
                    signature: None,
                });
                let said = content.map(|words| Block::Text { text: text(words) });
                let mut blocks: Vec<Block> = thinking.into_iter().chain(said).collect();
                for call in tool_calls {
                    let Ok(Value::Object(input)) = serde_json::from_str(&call.function.arguments) else {
                        return refused(format!(
                            "messages[{at}].tool_calls: arguments must be a JSON object"
                        ));
                    };
                    if call.kind != "function" || !seen.insert(call.id.clone()) {
                        return refused(format!("messages[{at}].tool_calls: wrong type or id {}", call.id));
                    }
                    open.insert(call.id.clone());
                    let (id, name, input) = (call.id, call.function.name, Value::Object(input));
                    blocks.push(Block::ToolCall(ToolCall { id, name, input }));
                }
                (Role::Assistant, blocks)
            }
        };
        match messages.last_mut() {
            Some(last) if last.role == role => last.blocks.extend(blocks),
            _ => messages.push(Message { role, blocks }),
        }
    }
    if let Some(id) = open.first() {
        return refused(format!(
            "The following tool_call_ids did not have response messages: {id}"
        ));
    }
    if messages.is_empty() {
        return refused("Invalid 'messages': empty array.".into());
    }
    Ok((system.join("\n\n"), messages))
}
