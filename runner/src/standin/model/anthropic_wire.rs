//! Anthropic Messages as an answer goes out: the events of a stream, the whole message, the errors.
//!
//! Invariant: the events come in the order the real API sends them, and concatenating the deltas gives the whole message.

use bytes::Bytes;
use roost_shared::transcript::{Block, StopReason};
use serde_json::{Value, json};

use super::{Out, Refusal, SCRIPTED_MODEL};

pub(super) fn frames(out: &Out<'_>) -> Vec<Bytes> {
    let mut frames = vec![
        frame(
            "message_start",
            &json!({"message": message(out, json!([]), Value::Null, 1)}),
        ),
        frame("ping", &json!({})),
    ];
    for (index, block) in out.turn.blocks().iter().enumerate() {
        let start = match block {
            Block::Text { .. } => json!({"type": "text", "text": ""}),
            Block::Thinking { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Block::ToolCall(call) => {
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
            }
            other => content(other),
        };
        frames.push(frame(
            "content_block_start",
            &json!({"index": index, "content_block": start}),
        ));
        for delta in deltas(block) {
            frames.push(frame(
                "content_block_delta",
                &json!({"index": index, "delta": delta}),
            ));
        }
        frames.push(frame("content_block_stop", &json!({"index": index})));
    }
    let delta = json!({"stop_reason": stop(out.turn.stop()), "stop_sequence": null});
    let usage = json!({"output_tokens": out.usage.output});
    frames.push(frame("message_delta", &json!({"delta": delta, "usage": usage})));
    frames.push(frame("message_stop", &json!({})));
    frames
}

pub(super) fn whole(out: &Out<'_>) -> Value {
    let content: Vec<Value> = out.turn.blocks().iter().map(content).collect();
    message(
        out,
        content.into(),
        stop(out.turn.stop()).into(),
        out.usage.output,
    )
}

pub(super) fn refusal(refusal: &Refusal, request_id: &str) -> Value {
    let error = json!({"type": refusal.kind, "message": refusal.message});
    json!({"type": "error", "error": error, "request_id": request_id})
}

pub(super) fn error_frame() -> Bytes {
    frame(
        "error",
        &json!({"error": {"type": "overloaded_error", "message": "Overloaded"}}),
    )
}

fn message(out: &Out<'_>, content: Value, stop_reason: Value, output_tokens: u64) -> Value {
    json!({
        "id": format!("msg_scripted_{}", out.position),
        "type": "message",
        "role": "assistant",
        "model": SCRIPTED_MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": out.usage.input,
            "cache_creation_input_tokens": out.usage.cache_write,
            "cache_read_input_tokens": out.usage.cache_read,
            "output_tokens": output_tokens,
        },
    })
}

fn content(block: &Block) -> Value {
    match block {
        Block::Text { text } => json!({"type": "text", "text": text}),
        Block::Thinking { text, signature } => {
            json!({"type": "thinking", "thinking": text, "signature": signature.as_deref().unwrap_or_default()})
        }
        Block::RedactedThinking { data } => json!({"type": "redacted_thinking", "data": data}),
        Block::ToolCall(call) => {
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input})
        }
        Block::ToolResult(_) => Value::Null,
    }
}

fn deltas(block: &Block) -> Vec<Value> {
    match block {
        Block::Text { text } => tokens(text)
            .map(|text| json!({"type": "text_delta", "text": text}))
            .collect(),
        Block::Thinking { text, signature } => {
            let thinking = tokens(text).map(|text| json!({"type": "thinking_delta", "thinking": text}));
            let signature = json!({"type": "signature_delta", "signature": signature});
            thinking.chain([signature]).collect()
        }
        Block::ToolCall(call) => {
            let json = call.input.to_string();
            let empty = std::iter::once("");
            let parts = empty.chain(tokens(&json));
            parts
                .map(|part| json!({"type": "input_json_delta", "partial_json": part}))
                .collect()
        }
        Block::RedactedThinking { .. } | Block::ToolResult(_) => Vec::new(),
    }
}

/// The text in pieces as small as a model's tokens: up to and with every space.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', ','])
}

fn frame(name: &str, data: &Value) -> Bytes {
    let mut whole = json!({"type": name});
    if let (Some(whole), Some(data)) = (whole.as_object_mut(), data.as_object()) {
        whole.extend(data.clone());
    }
    Bytes::from(format!("event: {name}\ndata: {whole}\n\n"))
}

fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::PauseTurn => "pause_turn",
        StopReason::Refusal => "refusal",
        StopReason::ContextExceeded => "model_context_window_exceeded",
    }
}
