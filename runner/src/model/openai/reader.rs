//! Chat Completions as an answer comes in: the chunks of its stream.
//!
//! Invariant: however a server numbers and cuts the tool calls, each one comes out once, with all its arguments.

use roost_shared::transcript::{StopReason, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::{REASONING, REASONING_CONTENT};
use crate::model::answer::{Delta, Growing, Part, Step};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: ChoiceDelta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ChoiceDelta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: FunctionDelta,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    /// Cached tokens are counted among the prompt's.
    fn from(wire: WireUsage) -> Self {
        let details = wire.prompt_tokens_details.unwrap_or_default();
        let cache_read = details.cached_tokens.unwrap_or(0);
        let cache_write = details.cache_write_tokens.unwrap_or(0);
        Self {
            input: wire
                .prompt_tokens
                .unwrap_or(0)
                .saturating_sub(cache_read + cache_write),
            output: wire.completion_tokens.unwrap_or(0),
            cache_read,
            cache_write,
        }
    }
}

/// Reads an answer's chunks.
#[derive(Debug, Default)]
pub(in crate::model) struct Reader {
    /// The place of each call among the parts, with the server's index of it.
    calls: Vec<(Option<u64>, usize)>,
    refused: bool,
}

impl Reader {
    /// Takes the data of one event.
    pub(in crate::model) fn read(
        &mut self,
        data: &str,
        answer: &mut Growing,
    ) -> Result<Step, serde_json::Error> {
        if data.trim() == "[DONE]" {
            return Ok(Step::Done);
        }
        let chunk: Chunk = serde_json::from_str(data)?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Ok(Step::Failed(error));
        }
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            answer.model = model;
        }
        if let Some(usage) = chunk.usage {
            answer.usage = usage.into();
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.grow(choice.delta, answer);
            if let Some(reason) = choice.finish_reason {
                answer.stop = Some(if self.refused {
                    StopReason::Refusal
                } else {
                    stop(&reason)
                });
            }
        }
        Ok(Step::More)
    }

    fn grow(&mut self, delta: ChoiceDelta, answer: &mut Growing) {
        for (field, more) in [
            (REASONING_CONTENT, delta.reasoning_content),
            (REASONING, delta.reasoning),
        ] {
            let Some(more) = more.filter(|more| !more.is_empty()) else {
                continue;
            };
            think(field, &more, answer);
            answer.show(Delta::Thinking(more));
            break;
        }
        self.refused |= delta.refusal.is_some();
        for more in [delta.content, delta.refusal].into_iter().flatten() {
            if !more.is_empty() {
                match answer.parts.last_mut() {
                    Some(Part::Text(text)) => text.push_str(&more),
                    _ => answer.parts.push(Part::Text(more.clone())),
                }
                answer.show(Delta::Text(more));
            }
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.grow_call(call, answer);
        }
    }

    fn grow_call(&mut self, delta: CallDelta, answer: &mut Growing) {
        let id = delta.id.unwrap_or_default();
        let known = match delta.index {
            Some(_) => self.calls.iter().rev().find(|(index, _)| *index == delta.index),
            None if id.is_empty() => self.calls.last(),
            None => None,
        };
        // Some servers give every parallel call the same index; a new id tells them apart.
        let known = known
            .map(|(_, place)| *place)
            .filter(|place| match answer.parts.get(*place) {
                Some(Part::Tool { id: first, .. }) => id.is_empty() || first.is_empty() || *first == id,
                _ => false,
            });
        let place = known.unwrap_or_else(|| {
            let place = answer.parts.len();
            self.calls.push((delta.index, place));
            let (name, json) = (String::new(), String::new());
            answer.parts.push(Part::Tool {
                id: id.clone(),
                name,
                json,
            });
            place
        });
        let Some(Part::Tool {
            id: first,
            name,
            json,
        }) = answer.parts.get_mut(place)
        else {
            return;
        };
        if first.is_empty() {
            first.clone_from(&id);
        }
        let begun = delta
            .function
            .name
            .filter(|more| name.is_empty() && !more.is_empty());
        let more = match delta.function.arguments {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => String::new(),
            Some(whole) => whole.to_string(),
        };
        json.push_str(&more);
        if let Some(begun) = begun {
            name.clone_from(&begun);
            answer.show(Delta::ToolCall {
                index: place,
                id,
                name: begun,
            });
        }
        if !more.is_empty() {
            answer.show(Delta::ToolInput {
                index: place,
                json: more,
            });
        }
    }
}

fn think(field: &str, more: &str, answer: &mut Growing) {
    match answer.parts.last_mut() {
        Some(Part::Thinking { text, .. }) => text.push_str(more),
        _ => answer.parts.push(Part::Thinking {
            text: more.to_owned(),
            signature: field.to_owned(),
        }),
    }
}

fn stop(reason: &str) -> StopReason {
    match reason {
        "tool_calls" | "function_call" => StopReason::ToolUse,
        "length" => StopReason::MaxTokens,
        "content_filter" => StopReason::Refusal,
        _ => StopReason::EndTurn,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use roost_shared::transcript::{Answer, Block};
    use serde_json::json;

    use super::*;

    fn read(deltas: &[Value], end: Value) -> Answer {
        let mut answer = Growing::new(Instant::now());
        let mut reader = Reader::default();
        let chunks = deltas
            .iter()
            .map(|delta| json!({"choices": [{"delta": delta, "finish_reason": null}]}));
        for chunk in chunks.chain([end]) {
            assert!(
                matches!(reader.read(&chunk.to_string(), &mut answer), Ok(Step::More)),
                "{chunk}"
            );
        }
        assert!(matches!(reader.read("[DONE]", &mut answer), Ok(Step::Done)));
        answer.finish()
    }

    fn end(reason: &str) -> Value {
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    }

    fn calls(answer: &Answer) -> Vec<(&str, &str, String)> {
        answer
            .tool_calls()
            .map(|call| (call.id.as_str(), call.name.as_str(), call.input.to_string()))
            .collect()
    }

    #[test]
    fn calls_come_together_however_a_server_numbers_them() {
        let one = ("a", "f", r#"{"x":1}"#.to_owned());
        let two = ("b", "g", r#"{"y":2}"#.to_owned());
        let interleaved = [
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}},
                                  {"index": 1, "id": "b", "function": {"name": "g"}}]}),
            json!({"tool_calls": [{"index": 1, "function": {"arguments": "{\"y\":2}"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"name": null, "arguments": ":1}"}}]}),
        ];
        // The same index for all, every call whole: as some servers of local models send them.
        let unnumbered = [
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
            json!({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": {"y": 2}}}]}),
        ];
        let no_index = [
            json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}]}),
            json!({"tool_calls": [{"function": {"arguments": "1}"}}]}),
            json!({"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": "{\"y\":2}"}}]}),
        ];
        for deltas in [interleaved.as_slice(), &unnumbered, &no_index] {
            assert_eq!(
                calls(&read(deltas, end("tool_calls"))),
                [one.clone(), two.clone()],
                "{deltas:?}"
            );
        }
    }

    #[test]
    fn thinking_is_kept_with_the_name_of_its_field() {
        for field in [REASONING, REASONING_CONTENT] {
            let answer = read(
                &[
                    json!({field: "h"}),
                    json!({field: "m", "content": ""}),
                    json!({"content": "So."}),
                ],
                end("stop"),
            );
            let thinking = Block::Thinking {
                text: "hm".into(),
                signature: Some(field.into()),
            };
            assert_eq!(answer.blocks, [thinking, Block::Text { text: "So.".into() }]);
        }
    }

    #[test]
    fn usage_splits_what_was_cached_and_a_refusal_is_one() {
        let usage = json!({"prompt_tokens": 100, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}});
        let last = json!({"choices": [], "usage": usage});
        let answer = read(&[json!({"content": "Hi"})], last);
        assert_eq!(
            answer.usage,
            Usage {
                input: 10,
                output: 5,
                cache_read: 60,
                cache_write: 30
            }
        );
        let refused = read(&[json!({"refusal": "I won't."})], end("stop"));
        assert_eq!(
            (refused.stop, refused.text().as_str()),
            (StopReason::Refusal, "I won't.")
        );
    }

    #[test]
    fn an_error_in_the_stream_is_one() {
        let mut answer = Growing::new(Instant::now());
        let error = json!({"error": {"message": "no", "code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]});
        assert!(matches!(
            Reader::default().read(&error.to_string(), &mut answer),
            Ok(Step::Failed(_))
        ));
    }
}
