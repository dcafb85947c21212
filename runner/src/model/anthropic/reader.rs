//! Anthropic Messages as an answer comes in: the events of its stream.
//!
//! Invariant: events, blocks and deltas of kinds we don't know change nothing, as the API's versioning demands.

use std::collections::BTreeMap;

use roost_shared::transcript::StopReason;
use serde::Deserialize;
use serde_json::Value;

use crate::model::answer::{Delta, Growing, Part, Step};

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: u64,
        content_block: BlockStart,
    },
    ContentBlockDelta {
        index: u64,
        delta: BlockDelta,
    },
    MessageDelta {
        delta: End,
        #[serde(default)]
        usage: WireUsage,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockStart {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDelta {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct End {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// Reads an answer's events.
#[derive(Debug, Default)]
pub(in crate::model) struct Reader {
    /// The provider's index of a block → its place among the parts; blocks of kinds we don't know have none.
    places: BTreeMap<u64, usize>,
}

impl Reader {
    /// Takes the data of one event.
    pub(in crate::model) fn read(
        &mut self,
        data: &str,
        answer: &mut Growing,
    ) -> Result<Step, serde_json::Error> {
        match serde_json::from_str(data)? {
            Event::MessageStart { message } => {
                answer.model = message.model;
                message.usage.put(answer);
            }
            Event::ContentBlockStart { index, content_block } => self.begin(index, content_block, answer),
            Event::ContentBlockDelta { index, delta } => self.grow(index, delta, answer),
            Event::MessageDelta { delta, usage } => {
                usage.put(answer);
                answer.stop = delta.stop_reason.as_deref().map(stop).or(answer.stop);
            }
            Event::MessageStop => return Ok(Step::Done),
            Event::Error { error } => return Ok(Step::Failed(error)),
            Event::Other => {}
        }
        Ok(Step::More)
    }

    fn begin(&mut self, index: u64, start: BlockStart, answer: &mut Growing) {
        let place = answer.parts.len();
        let part = match start {
            BlockStart::Text { text } => {
                answer.show(Delta::Text(text.clone()));
                Part::Text(text)
            }
            BlockStart::Thinking {
                thinking: text,
                signature,
            } => Part::Thinking { text, signature },
            BlockStart::RedactedThinking { data } => Part::Redacted(data),
            BlockStart::ToolUse { id, name, input } => {
                // Usually `{}` with the arguments to follow; some gateways send them whole at once.
                let json = match input.as_object() {
                    Some(object) if !object.is_empty() => input.to_string(),
                    _ => String::new(),
                };
                let (id_shown, name_shown) = (id.clone(), name.clone());
                answer.show(Delta::ToolCall {
                    index: place,
                    id: id_shown,
                    name: name_shown,
                });
                Part::Tool { id, name, json }
            }
            BlockStart::Other => return,
        };
        self.places.insert(index, place);
        answer.parts.push(part);
    }

    fn grow(&self, index: u64, delta: BlockDelta, answer: &mut Growing) {
        let Some(&place) = self.places.get(&index) else {
            return;
        };
        let shown = match (answer.parts.get_mut(place), delta) {
            (Some(Part::Text(text)), BlockDelta::TextDelta { text: more }) => {
                text.push_str(&more);
                Delta::Text(more)
            }
            (Some(Part::Thinking { text, .. }), BlockDelta::ThinkingDelta { thinking }) => {
                text.push_str(&thinking);
                Delta::Thinking(thinking)
            }
            (Some(Part::Thinking { signature, .. }), BlockDelta::SignatureDelta { signature: more }) => {
                signature.push_str(&more);
                return;
            }
            (Some(Part::Tool { json, .. }), BlockDelta::InputJsonDelta { partial_json }) => {
                json.push_str(&partial_json);
                Delta::ToolInput {
                    index: place,
                    json: partial_json,
                }
            }
            _ => return,
        };
        answer.show(shown);
    }
}

impl WireUsage {
    /// Counts are cumulative: a later one replaces an earlier one.
    fn put(&self, answer: &mut Growing) {
        let usage = &mut answer.usage;
        for (count, place) in [
            (self.input_tokens, &mut usage.input),
            (self.output_tokens, &mut usage.output),
            (self.cache_read_input_tokens, &mut usage.cache_read),
            (self.cache_creation_input_tokens, &mut usage.cache_write),
        ] {
            *place = count.unwrap_or(*place);
        }
    }
}

fn stop(reason: &str) -> StopReason {
    match reason {
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "pause_turn" => StopReason::PauseTurn,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextExceeded,
        _ => StopReason::EndTurn,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use roost_shared::transcript::{Block, Usage};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_unknown_is_passed_over_and_counts_are_cumulative() {
        let mut answer = Growing::new(Instant::now());
        let mut reader = Reader::default();
        for event in [
            json!({"type": "ping"}),
            json!({"type": "message_start", "message": {"id": "m", "model": "x", "usage": {
                "input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 7, "service_tier": "standard"}}}),
            json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "z"}}),
            json!({"type": "content_block_start", "index": 2,
                "content_block": {"type": "tool_use", "id": "t", "name": "bash", "input": {"whole": 1}}}),
            json!({"type": "content_block_start", "index": 3, "content_block": {"type": "text", "text": "So"}}),
            json!({"type": "content_block_delta", "index": 3, "delta": {"type": "citations_delta", "citation": {}}}),
            json!({"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "!"}}),
            json!({"type": "brand_new_event", "index": 3}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                "usage": {"output_tokens": 9}}),
        ] {
            assert!(
                matches!(reader.read(&event.to_string(), &mut answer), Ok(Step::More)),
                "{event}"
            );
        }
        assert!(matches!(
            reader.read(r#"{"type":"message_stop"}"#, &mut answer),
            Ok(Step::Done)
        ));
        let answer = answer.finish();
        let usage = Usage {
            input: 5,
            output: 9,
            cache_read: 7,
            cache_write: 0,
        };
        assert_eq!(
            (answer.usage, answer.stop, answer.model.as_str()),
            (usage, StopReason::ToolUse, "x")
        );
        assert_eq!(answer.blocks.len(), 3);
        assert_eq!(answer.blocks[0], Block::RedactedThinking { data: "z".into() });
        assert_eq!(answer.tool_calls().next().unwrap().input, json!({"whole": 1}));
        assert_eq!(answer.text(), "So!");
    }
}
