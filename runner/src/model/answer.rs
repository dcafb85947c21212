//! An answer as it grows: pieces come in by any wire format, one [`Answer`] goes out.
//!
//! Invariant: what comes out can be sent back to a provider, once [`RunState::name_calls`] has seen to the ids of its calls.
//! Tool names have only letters a provider takes, and a call whose arguments were cut off by the length limit is not there at
//! all.
//!
//! [`RunState::name_calls`]: roost_shared::run::RunState::name_calls

use std::{collections::VecDeque, time::Instant};

use roost_shared::{
    MicroUsd,
    transcript::{Answer, Block, StopReason, ToolCall, Usage},
};
use serde_json::{Map, Value};

/// A piece of an answer for those who watch it grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More text.
    Text(String),
    /// More thinking.
    Thinking(String),
    /// A tool call begins.
    ToolCall {
        /// Its place among the answer's blocks.
        index: usize,
        /// The provider's id of it, as it stands on the wire.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a tool call's arguments, as JSON text.
    ToolInput {
        /// The call's place among the answer's blocks.
        index: usize,
        /// The next characters.
        json: String,
    },
}

/// A block as it grows.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Thinking { text: String, signature: String },
    Redacted(String),
    Tool { id: String, name: String, json: String },
}

impl Part {
    /// Bytes of it that have come.
    fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Redacted(text) | Self::Thinking { text, .. } => text.len(),
            Self::Tool { json, .. } => json.len(),
        }
    }
}

/// An answer as it grows.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) parts: Vec<Part>,
    pub(super) model: String,
    pub(super) stop: Option<StopReason>,
    pub(super) usage: Usage,
    pub(super) request_id: Option<String>,
    deltas: VecDeque<Delta>,
    asked: Instant,
    first_byte: Option<Instant>,
}

/// What an event of a stream means for the one who reads it.
#[derive(Debug)]
pub(super) enum Step {
    /// There is more to come.
    More,
    /// The answer is complete.
    Done,
    /// The provider says that the call failed; its `error`.
    Failed(Value),
}

impl Growing {
    /// An answer of which nothing is there yet, to a request sent at `asked`.
    pub(super) fn new(asked: Instant) -> Self {
        Self {
            parts: Vec::new(),
            model: String::new(),
            stop: None,
            usage: Usage::default(),
            request_id: None,
            deltas: VecDeque::new(),
            asked,
            first_byte: None,
        }
    }

    /// A byte of the answer is there.
    pub(super) fn byte_came(&mut self) {
        self.first_byte.get_or_insert_with(Instant::now);
    }

    /// The next piece to show, if there is one.
    pub(super) fn next_delta(&mut self) -> Option<Delta> {
        self.deltas.pop_front()
    }

    /// Has something to show.
    pub(super) fn show(&mut self, delta: Delta) {
        self.deltas.push_back(delta);
    }

    /// The tokens used so far: what the provider has counted, and at least what has come, at four bytes a token.
    pub(super) fn spent(&self) -> Usage {
        let came: usize = self.parts.iter().map(Part::len).sum();
        let came = u64::try_from(came / 4).unwrap_or(u64::MAX);
        Usage {
            output: self.usage.output.max(came),
            ..self.usage
        }
    }

    /// The complete answer. Its cost is not known here.
    pub(super) fn finish(mut self) -> Answer {
        let stop = self.stop.unwrap_or(StopReason::EndTurn);
        let mut blocks = Vec::with_capacity(self.parts.len());
        for part in std::mem::take(&mut self.parts) {
            blocks.extend(block(part, stop));
        }
        let millis = |until: Instant| u64::try_from((until - self.asked).as_millis()).unwrap_or(u64::MAX);
        Answer {
            model: self.model,
            blocks,
            stop,
            usage: self.usage,
            cost: MicroUsd::default(),
            request_id: self.request_id,
            first_byte_ms: millis(self.first_byte.unwrap_or(self.asked)),
            took_ms: millis(Instant::now()),
        }
    }
}

fn block(part: Part, stop: StopReason) -> Option<Block> {
    match part {
        Part::Text(text) => (!text.is_empty()).then_some(Block::Text { text }),
        Part::Thinking { text, signature } => {
            let signature = (!signature.is_empty()).then_some(signature);
            (!text.is_empty() || signature.is_some()).then_some(Block::Thinking { text, signature })
        }
        Part::Redacted(data) => Some(Block::RedactedThinking { data }),
        Part::Tool { id, name, json } => {
            let input = arguments(&json, stop)?;
            let name = tool_name(&name);
            Some(Block::ToolCall(ToolCall { id, name, input }))
        }
    }
}

/// What a call's argument text means; none where the length limit cut it off. Other text that is no JSON is kept as a
/// string: the model is told what it wrote.
fn arguments(json: &str, stop: StopReason) -> Option<Value> {
    let cut = matches!(stop, StopReason::MaxTokens | StopReason::ContextExceeded);
    match serde_json::from_str(json) {
        Ok(value) => Some(value),
        Err(_) if cut => None,
        Err(_) if json.trim().is_empty() => Some(Value::Object(Map::new())),
        Err(_) => Some(Value::String(json.to_owned())),
    }
}

/// The name with every character that providers refuse in a transcript replaced, cut to the 64 they take.
fn tool_name(name: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(allowed).take(64).collect();
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finish(parts: Vec<Part>, stop: StopReason) -> Vec<Block> {
        let mut growing = Growing::new(Instant::now());
        growing.parts = parts;
        growing.stop = Some(stop);
        growing.finish().blocks
    }

    fn tool(id: &str, name: &str, json: &str) -> Part {
        let (id, name, json) = (id.to_owned(), name.to_owned(), json.to_owned());
        Part::Tool { id, name, json }
    }

    fn call(id: &str, name: &str, input: Value) -> Block {
        let (id, name) = (id.to_owned(), name.to_owned());
        Block::ToolCall(ToolCall { id, name, input })
    }

    #[test]
    fn a_call_cut_off_by_the_length_limit_is_dropped_and_a_complete_one_kept() {
        let parts = || {
            vec![
                tool("a", "x", r#"{"k":1}"#),
                tool("b", "x", r#"{"k":"#),
                tool("c", "x", ""),
            ]
        };
        assert_eq!(
            finish(parts(), StopReason::MaxTokens),
            [call("a", "x", json!({"k": 1}))]
        );
        let kept = [
            call("a", "x", json!({"k": 1})),
            call("b", "x", json!(r#"{"k":"#)),
            call("c", "x", json!({})),
        ];
        assert_eq!(finish(parts(), StopReason::ToolUse), kept);
    }

    #[test]
    fn names_are_ones_a_provider_takes() {
        let parts = vec![tool("0", "f.g h", "{}"), tool("1", "", "{}")];
        let expected = [call("0", "f_g_h", json!({})), call("1", "unnamed", json!({}))];
        assert_eq!(finish(parts, StopReason::ToolUse), expected);
    }
}
