//! Tools: what an agent can do. Each one states what repeating it would do ([`EffectClass`]).
//!
//! Invariant: a tool never fails the run by what it answers; whatever goes wrong inside a sprite becomes text a model can act on.
//! The list of tools a model sees is sorted by name and byte-stable, so that it can be cached.

mod bash;
mod command;
mod context;
mod cut;
mod edit_file;
mod git;
mod glob;
mod grep;
mod input;
mod list;
mod path;
mod read_file;
mod registry;
mod seen;
mod shell;
mod write_file;

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde_json::Value;

use crate::sprite::SpriteError;

pub use bash::Bash;
pub use context::{NoSessionLog, SessionLog, SessionLogError, ToolContext};
pub use edit_file::EditFile;
pub use git::{CredentialSource, Remote};
pub use glob::Glob;
pub use grep::Grep;
pub use list::List;
pub use read_file::ReadFile;
pub use registry::{ToolDefinition, Tools};
pub use write_file::WriteFile;

/// One thing an agent can do.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Its name for the model: lower case, digits, `_`.
    fn name(&self) -> &str;

    /// What it does and when to use it, for the model.
    fn description(&self) -> &str;

    /// JSON Schema of its input, an object.
    fn input_schema(&self) -> Value;

    /// What repeating a call would do.
    fn effect_class(&self) -> EffectClass;

    /// Does it. `input` is what the model gave and may be anything; a wrong one is an error output, not a panic.
    ///
    /// Dropping the future leaves what the call has begun in the sprite as it is: a later call with the same key joins it,
    /// [`ToolContext::close`] ends it.
    async fn call(&self, context: &ToolContext, input: Value) -> ToolOutput;
}

/// What a tool call says to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Text, cut to a size a model can bear.
    pub text: String,
    /// Whether the call failed.
    pub is_error: bool,
    /// Why the sprite or its host did not do it, if that is why it failed: both may be gone, or at their limit.
    pub sprite_error: Option<SpriteError>,
}

impl ToolOutput {
    /// A success.
    pub fn ok(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: false,
            sprite_error: None,
        }
    }

    /// A failure, as a sentence that says what to do about it.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: true,
            sprite_error: None,
        }
    }
}

/// The tools every agent can have: `bash`, `edit_file`, `glob`, `grep`, `list`, `read_file`, `write_file`.
pub fn standard() -> Tools {
    Tools::new()
        .with(Bash::default())
        .with(EditFile)
        .with(Glob)
        .with(Grep)
        .with(List)
        .with(ReadFile)
        .with(WriteFile)
}
