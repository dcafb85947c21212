//! What a model gives to a tool, and errors as it can read them.
//!
//! Invariant: a wrong input or a failed file operation becomes one or two sentences that say what to do next.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ToolOutput, path::AgentPath};
use crate::sprite::{FileErrorKind, SpriteError};

/// Reads a tool's input; fields it doesn't know are ignored.
pub(super) fn parse<T: DeserializeOwned>(input: Value) -> Result<T, ToolOutput> {
    serde_json::from_value(input)
        .map_err(|error| ToolOutput::error(format!("The input does not fit: {error}.")))
}

/// A failed file operation.
pub(super) fn file_error(path: &AgentPath, error: &SpriteError) -> ToolOutput {
    let text = match error {
        SpriteError::File {
            kind: FileErrorKind::NotFound,
            ..
        } => format!(
            "{path} does not exist. Relative paths start in the home directory, wherever the shell is; \
             use list or glob to find the file."
        ),
        SpriteError::File {
            kind: FileErrorKind::IsDirectory,
            ..
        } => {
            format!("{path} is a directory. Use list to see what is in it.")
        }
        SpriteError::File {
            kind: FileErrorKind::Denied,
            message,
            ..
        } => {
            format!("{path} can't be used: {message}. Files are below the home directory.")
        }
        SpriteError::File { message, .. } => format!("{path} can't be used: {message}."),
        SpriteError::TooLarge { limit, .. } => {
            format!(
                "{path} is larger than {limit} bytes. Look at a part of it with bash, for example head, sed -n or grep."
            )
        }
        other => return sprite_error(other),
    };
    ToolOutput::error(text)
}

/// A failure of the sprite or the way to it.
pub(super) fn sprite_error(error: &SpriteError) -> ToolOutput {
    let text = format!("The sprite could not do it ({}): {error}.", error.code());
    let is_in_doubt = matches!(
        error,
        SpriteError::Gone { .. } | SpriteError::Unavailable { .. } | SpriteError::Limited { .. }
    );
    ToolOutput {
        sprite_error: is_in_doubt.then(|| error.clone()),
        ..ToolOutput::error(text)
    }
}
