//! Chat Completions as an answer goes out: the chunks of a stream, the whole completion, the errors.
//!
//! Invariant: concatenating the deltas gives the whole completion; a stream ends in `[DONE]`.

use bytes::Bytes;
use http::StatusCode;
use roost_shared::transcript::{Block, StopReason};
use serde_json::{Value, json};

use super::{Out, Refusal, SCRIPTED_MODEL, anthropic_wire::tokens};

pub(super) fn frames(out: &Out<'_>, include_usage: bool) -> Vec<Bytes> {
    let mut frames = vec![delta(out, &json!({"role": "assistant", "content": ""}))];
    let mut calls = 0;
    for block in out.turn.blocks() {
        match block {
            Block::Text { text } => {
                frames.extend(tokens(text).map(|text| delta(out, &json!({"content": text}))));
            }
            Block::Thinking { text, .. } => {
                frames.extend(tokens(text).map(|text| delta(out, &json!({"reasoning_content": text}))));
            }
            Block::ToolCall(call) => {
                let function = json!({"name": call.name, "arguments": ""});
                let start = json!({"index": calls, "id": call.id, "type": "function", "function": function});
                frames.push(delta(out, &json!({"tool_calls": [start]})));
                for part in tokens(&call.input.to_string()) {
                    let more = json!({"index": calls, "function": {"arguments": part}});
                    frames.push(delta(out, &json!({"tool_calls": [more]})));
                }
                calls += 1;
            }
            Block::RedactedThinking { .. } | Block::ToolResult(_) => {}
        }
    }
    let choice = json!({"index": 0, "delta": {}, "finish_reason": stop(out.turn.stop())});
    frames.push(chunk(out, &json!([choice]), &Value::Null));
    if include_usage {
        frames.push(chunk(out, &json!([]), &usage(out)));
    }
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    frames
}

pub(super) fn whole(out: &Out<'_>) -> Value {
    let (mut text, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for block in out.turn.blocks() {
        match block {
            Block::Text { text: more } => text.push_str(more),
            Block::Thinking { text: more, .. } => thinking.push_str(more),
            Block::ToolCall(call) => {
                let function = json!({"name": call.name, "arguments": call.input.to_string()});
                calls.push(json!({"id": call.id, "type": "function", "function": function}));
            }
            Block::RedactedThinking { .. } | Block::ToolResult(_) => {}
        }
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !thinking.is_empty() {
        message["reasoning_content"] = thinking.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({
        "id": id(out),
        "object": "chat.completion",
        "created": 0,
        "model": SCRIPTED_MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": stop(out.turn.stop())}],
        "usage": usage(out),
    })
}

pub(super) fn refusal(refusal: &Refusal) -> Value {
    let kind = match refusal.status {
        StatusCode::TOO_MANY_REQUESTS => "requests",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": refusal.message, "type": kind, "param": null, "code": refusal.code}})
}

pub(super) fn error_frame() -> Bytes {
    let error = json!({"message": "Overloaded", "type": "server_error", "param": null, "code": 503});
    Bytes::from(format!("data: {}\n\n", json!({ "error": error })))
}

fn id(out: &Out<'_>) -> String {
    format!("chatcmpl-scripted-{}", out.position)
}

fn delta(out: &Out<'_>, delta: &Value) -> Bytes {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
    chunk(out, &json!([choice]), &Value::Null)
}

fn chunk(out: &Out<'_>, choices: &Value, usage: &Value) -> Bytes {
    let chunk = json!({
        "id": id(out),
        "object": "chat.completion.chunk",
        "created": 0,
        "model": SCRIPTED_MODEL,
        "choices": choices,
        "usage": usage,
    });
    Bytes::from(format!("data: {chunk}\n\n"))
}

/// The prompt's tokens include the cached ones.
fn usage(out: &Out<'_>) -> Value {
    let (prompt, completion) = (out.usage.context(), out.usage.output);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": out.usage.cache_read,
            "cache_write_tokens": out.usage.cache_write,
        },
    })
}

/// Chat Completions has fewer reasons.
fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::PauseTurn => "stop",
        StopReason::ToolUse => "tool_calls",
        StopReason::MaxTokens | StopReason::ContextExceeded => "length",
        StopReason::Refusal => "content_filter",
    }
}
