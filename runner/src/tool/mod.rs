//! Tools: what an agent can do. Each one states what repeating it would do ([`EffectClass`]).
//!
//! Invariant: a tool never fails the run by what it answers; whatever goes wrong inside a sprite becomes text a model can act on.
//! The list of tools a model sees is sorted by name and byte-stable, so that it can be cached.

mod context;
mod registry;

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde_json::Value;

pub use context::{NoSessionLog, SessionLog, SessionLogError, ToolContext};
pub use registry::{ToolDefinition, Tools};

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
    /// Dropping the future cancels the call as far as possible.
    async fn call(&self, context: &ToolContext, input: Value) -> ToolOutput;
}

/// What a tool call says to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Text, cut to a size a model can bear.
    pub text: String,
    /// Whether the call failed.
    pub is_error: bool,
}

impl ToolOutput {
    /// A success.
    pub fn ok(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: false,
        }
    }

    /// A failure, as a sentence that says what to do about it.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: true,
        }
    }
}
