//! `grep`: lines that match a regular expression, with their file and number.
//!
//! Invariant: every line shown is a line of a file, cut if it is very long; what is left out is said.

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolContext, ToolOutput,
    command::{self, Finished},
    cut::{OUTPUT_CHARS, cut},
    input::parse,
    path::AgentPath,
};

const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 2_000;
const MAX_CONTEXT: usize = 20;
const LINE_CHARS: usize = 500;
const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// Finds lines in files by a regular expression.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grep;

#[derive(Debug, Deserialize)]
struct Input {
    pattern: String,
    #[serde(default)]
    path: String,
    include: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    context: usize,
    limit: Option<usize>,
    #[serde(default)]
    output: Shown,
}

/// What to show of the matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shown {
    #[default]
    Lines,
    Files,
}

#[async_trait]
impl Tool for Grep {
    fn name(&self) -> &'static str {
        "grep"
    }

    fn description(&self) -> &'static str {
        "Finds lines that match a regular expression (Perl syntax) in the text files below a path, as FILE:LINE:TEXT. \
         .git is left out."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "The regular expression."},
                "path": {"type": "string", "description": "File or directory to look in; the home directory by default."},
                "include": {"type": "string", "description": "Only files whose name matches this pattern, such as *.py."},
                "ignore_case": {"type": "boolean", "description": "Upper and lower case are the same; false by default."},
                "context": {"type": "integer", "minimum": 0, "maximum": MAX_CONTEXT, "description": "Lines to show before and after each match, 0 by default."},
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": "How many lines to show, 200 by default."},
                "output": {"enum": ["lines", "files"], "description": "The lines, or only the files that have any; lines by default."},
            },
            "required": ["pattern"],
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
        if input.pattern.contains(['\0', '\n']) {
            return ToolOutput::error("The pattern must be one line; matches do not span lines.");
        }
        let arguments = arguments(&input);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let Finished {
            stdout,
            stderr,
            exit,
            complete,
        } = match command::run(context, &arguments, MAX_OUTPUT_BYTES).await {
            Ok(finished) => finished,
            Err(output) => return output,
        };
        if stdout.is_empty() {
            return match exit {
                Some(1) => ToolOutput::ok("[no line matches]"),
                _ => ToolOutput::error(format!(
                    "grep failed: {}",
                    stderr.trim().trim_start_matches("grep: ")
                )),
            };
        }
        let text = String::from_utf8_lossy(&stdout);
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let total = text.lines().count();
        let mut shown = String::new();
        for line in text.lines().take(limit) {
            shown.push_str(&shorten(line.strip_prefix("./").unwrap_or(line)));
            shown.push('\n');
        }
        if total > limit || !complete {
            let more = if complete {
                format!("{} more lines", total - limit)
            } else {
                "more lines".into()
            };
            shown.push_str(&format!("[{more}; narrow the pattern, the path or include]\n"));
        }
        ToolOutput::ok(cut(
            &shown,
            OUTPUT_CHARS,
            "narrow the pattern, the path or include",
        ))
    }
}

fn arguments(input: &Input) -> Vec<String> {
    let mut arguments: Vec<String> = ["grep", "-rnHIP", "--exclude-dir=.git", "--exclude-dir=.roost"]
        .map(Into::into)
        .into();
    if input.ignore_case {
        arguments.push("-i".into());
    }
    if input.output == Shown::Files {
        arguments.push("-l".into());
    } else if input.context > 0 {
        arguments.push(format!("-C{}", input.context.min(MAX_CONTEXT)));
    }
    if let Some(include) = &input.include {
        arguments.push(format!("--include={include}"));
    }
    arguments.extend([
        "-e".into(),
        input.pattern.clone(),
        "--".into(),
        AgentPath::new(&input.path).argument(),
    ]);
    arguments
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{}[… line cut]", &line[..end]),
        None => line.to_owned(),
    }
}
