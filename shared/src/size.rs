//! How much a model is told, in bytes: what a budget reckons with before a request is made.

use std::io;

use serde_json::Value;

use crate::transcript::{Block, Message};

/// What a message takes: its texts, its calls and their results. Names of fields and other marks of a wire format, as well as
/// a provider's seals, are left out.
pub fn of_message(message: &Message) -> usize {
    let block = |block: &Block| match block {
        Block::Text { text } | Block::Thinking { text, .. } => text.len(),
        Block::RedactedThinking { data } => data.len(),
        Block::ToolCall(call) => call.name.len() + of_json(&call.input),
        Block::ToolResult(result) => result.text.len(),
    };
    message.blocks.iter().map(block).sum()
}

/// What a value takes as JSON without blanks.
pub fn of_json(value: &Value) -> usize {
    let mut count = Count(0);
    // Counting does not fail.
    drop(serde_json::to_writer(&mut count, value));
    count.0
}

/// Takes bytes and keeps their number.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::of_json;

    #[test]
    fn json_is_counted_as_it_is_written() {
        for value in [
            json!({"a": [1, 2.5, "\u{e9}\n"], "b": null}),
            json!([]),
            json!("x"),
        ] {
            assert_eq!(of_json(&value), value.to_string().len());
        }
    }
}
