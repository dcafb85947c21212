//! `read_file`: a part of a text file with line numbers.
//!
//! Invariant: lines come out in order and unchanged, each behind its number; what is left out is said, with the offset to go
//! on from.

use std::fmt::Write;

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolContext, ToolOutput,
    cut::OUTPUT_CHARS,
    input::{file_error, parse},
    path::AgentPath,
};

const DEFAULT_LINES: usize = 2_000;
const LINE_CHARS: usize = 2_000;
/// Room for the last sentence.
const NOTE_CHARS: usize = 200;
/// A NUL this early means it is no text.
const SNIFF_BYTES: usize = 8_192;

/// Reads a part of a text file, with line numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadFile;

#[derive(Debug, Deserialize)]
struct Input {
    path: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

#[async_trait]
impl Tool for ReadFile {
    fn name(&self) -> &'static str {
        "read_file"
    }

    fn description(&self) -> &'static str {
        "Reads a text file. Every line comes behind its number and a tab, which are not part of the file. \
         Long files come in parts: go on with offset. Read a file before you edit it."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Path of the file; relative paths start in the home directory."},
                "offset": {"type": "integer", "minimum": 1, "description": "Number of the first line to read, 1 by default."},
                "limit": {"type": "integer", "minimum": 1, "description": "How many lines to read, 2000 by default."},
            },
            "required": ["path"],
            "additionalProperties": false,
        })
    }

    fn effect_class(&self) -> EffectClass {
        EffectClass::Pure
    }

    async fn call(&self, context: &ToolContext, input: Value) -> ToolOutput {
        let input: Input = match parse(input) {
            Ok(input) => input,
            Err(output) => return output,
        };
        let path = AgentPath::new(&input.path);
        let content = match context.sprite().read(path.as_str()).await {
            Ok(content) => content,
            Err(error) => return file_error(&path, &error),
        };
        context.seen().await.note(&path, &content);
        if content.iter().take(SNIFF_BYTES).any(|byte| *byte == 0) {
            let size = content.len();
            return ToolOutput::error(format!(
                "{path} is not text ({size} bytes). Look at it with bash: file, xxd, strings."
            ));
        }
        let text = String::from_utf8_lossy(&content);
        show(
            &text,
            input.offset.unwrap_or(1),
            input.limit.unwrap_or(DEFAULT_LINES),
        )
    }
}

/// Lines `offset` to `offset + limit - 1`, as many as fit.
fn show(text: &str, offset: usize, limit: usize) -> ToolOutput {
    if text.is_empty() {
        return ToolOutput::ok("[the file is empty]");
    }
    let total = text.lines().count();
    let offset = offset.max(1);
    if offset > total {
        return ToolOutput::error(format!(
            "The file has {total} lines; offset {offset} is beyond its end."
        ));
    }
    let mut shown = String::new();
    let mut chars = 0;
    let mut next = offset;
    for line in text.lines().skip(offset - 1).take(limit.max(1)) {
        let length = line.chars().count();
        let mut numbered = format!("{next}\t");
        if length > LINE_CHARS {
            numbered.extend(line.chars().take(LINE_CHARS));
            // Writing to a String can't fail.
            let _ = write!(
                numbered,
                "[… {} characters of this line cut]",
                length - LINE_CHARS
            );
        } else {
            numbered.push_str(line);
        }
        numbered.push('\n');
        chars += numbered.chars().count();
        if chars > OUTPUT_CHARS - NOTE_CHARS {
            break;
        }
        shown.push_str(&numbered);
        next += 1;
    }
    if next <= total {
        let _ = write!(
            shown,
            "[lines {offset} to {} of {total}; go on with offset {next}]",
            next - 1
        );
    }
    ToolOutput::ok(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_on_from_each_note_yields_every_line_once(
            lines in proptest::collection::vec("[ -~ä€]{0,40}", 1..60), limit in 1_usize..20, last_newline in any::<bool>(),
        ) {
            let mut text = lines.join("\n");
            if last_newline { text.push('\n'); }
            prop_assume!(!text.is_empty());
            let mut read = Vec::new();
            let mut offset = 1;
            loop {
                let output = show(&text, offset, limit);
                prop_assert!(!output.is_error && output.text.chars().count() <= OUTPUT_CHARS);
                let mut go_on = None;
                for line in output.text.lines() {
                    match line.split_once('\t').filter(|(number, _)| number.parse::<usize>().is_ok()) {
                        Some((number, line)) => {
                            prop_assert_eq!(number.parse::<usize>().unwrap(), read.len() + 1);
                            read.push(line.to_owned());
                        }
                        None => go_on = line.rsplit_once("offset ").and_then(|(_, n)| n.trim_end_matches(']').parse().ok()),
                    }
                }
                match go_on {
                    Some(next) => offset = next,
                    None => break,
                }
            }
            prop_assert_eq!(read, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }

    #[test]
    fn long_lines_and_long_files_stay_within_the_limit() {
        let text = format!("{}\n", "x".repeat(1_900)).repeat(100);
        let output = show(&text, 1, 2_000);
        assert!(output.text.chars().count() <= OUTPUT_CHARS);
        assert!(
            output
                .text
                .ends_with("[lines 1 to 15 of 100; go on with offset 16]"),
            "{}",
            &output.text[28_000..]
        );
        assert!(
            show(&"y".repeat(50_000), 1, 1)
                .text
                .contains("[… 48000 characters of this line cut]")
        );
        assert!(show("a\nb\n", 3, 1).is_error);
    }
}
