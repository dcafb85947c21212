//! `write_file`: a whole file.
//!
//! Invariant: a file that was changed by somebody else since the agent saw it is not overwritten; the content arrives whole or
//! not at all.

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolContext, ToolOutput,
    input::{file_error, parse},
    path::AgentPath,
};
use crate::sprite::{FileErrorKind, SpriteError};

/// Writes a whole file, with its parent directories.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteFile;

#[derive(Debug, Deserialize)]
struct Input {
    path: String,
    content: String,
}

#[async_trait]
impl Tool for WriteFile {
    fn name(&self) -> &'static str {
        "write_file"
    }

    fn description(&self) -> &'static str {
        "Writes a whole file: creates it with its parent directories, or replaces all of its content. \
         To change a part of a file use edit_file."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Path of the file; relative paths start in the home directory."},
                "content": {"type": "string", "description": "The whole new content."},
            },
            "required": ["path", "content"],
            "additionalProperties": false,
        })
    }

    fn effect_class(&self) -> EffectClass {
        EffectClass::Idempotent
    }

    async fn call(&self, context: &ToolContext, input: Value) -> ToolOutput {
        let input: Input = match parse(input) {
            Ok(input) => input,
            Err(output) => return output,
        };
        let path = AgentPath::new(&input.path);
        let mut seen = context.seen().await;
        if seen.contains(&path) {
            match context.sprite().read(path.as_str()).await {
                Ok(now) if seen.is_stale(&path, &now) && now != input.content.as_bytes() => {
                    return changed(&path);
                }
                Ok(_)
                | Err(SpriteError::File {
                    kind: FileErrorKind::NotFound,
                    ..
                }) => {}
                Err(error) => return file_error(&path, &error),
            }
        }
        match context
            .sprite()
            .write(path.as_str(), input.content.clone(), None)
            .await
        {
            Ok(()) => {
                seen.note(&path, input.content.as_bytes());
                let (bytes, lines) = (input.content.len(), input.content.lines().count());
                ToolOutput::ok(format!("Wrote {path} ({lines} lines, {bytes} bytes)."))
            }
            Err(error) => file_error(&path, &error),
        }
    }
}

/// Somebody else changed the file.
pub(super) fn changed(path: &AgentPath) -> ToolOutput {
    ToolOutput::error(format!(
        "{path} has changed since you last read it, so nothing was written. Read it again and decide with its present content."
    ))
}
