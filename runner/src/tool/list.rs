//! `list`: what is in a directory.
//!
//! Invariant: directories first, then by name; what is left out is said.

use std::fmt::Write;

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolContext, ToolOutput,
    input::{file_error, parse},
    path::AgentPath,
};

const MAX_ENTRIES: usize = 500;

/// Lists a directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct List;

#[derive(Debug, Deserialize)]
struct Input {
    #[serde(default)]
    path: String,
}

#[async_trait]
impl Tool for List {
    fn name(&self) -> &'static str {
        "list"
    }

    fn description(&self) -> &'static str {
        "Lists a directory: permissions, size in bytes and name of each entry; directories end with /."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The directory; the home directory by default."},
            },
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
        let mut entries = match context.sprite().list(path.as_str()).await {
            Ok(entries) => entries,
            Err(error) => return file_error(&path, &error),
        };
        if entries.is_empty() {
            return ToolOutput::ok("[the directory is empty]");
        }
        entries.sort_by(|a, b| b.is_dir.cmp(&a.is_dir).then_with(|| a.name.cmp(&b.name)));
        let mut shown = String::new();
        for entry in entries.iter().take(MAX_ENTRIES) {
            let mark = match entry.kind.as_str() {
                "directory" => "/",
                "symlink" => "@",
                _ => "",
            };
            // Writing to a String can't fail.
            let _ = writeln!(shown, "{} {:>10} {}{mark}", entry.mode, entry.size, entry.name);
        }
        if let Some(more) = entries.len().checked_sub(MAX_ENTRIES).filter(|more| *more > 0) {
            let _ = writeln!(shown, "[{more} more entries; narrow it down with glob]");
        }
        ToolOutput::ok(shown)
    }
}
