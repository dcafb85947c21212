//! What a model is asked, in no provider's own format.
//!
//! Invariant: the order of everything in a request is fixed (tools by name, then system, then messages), and what comes later
//! in a run is only ever appended. A provider's cache of the beginning stays good for the whole run.

use std::{borrow::Cow, sync::Arc};

use roost_shared::transcript::Message;
use serde_json::{Value, json};

use crate::tool::ToolDefinition;

/// One question to a model.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// `provider/model`, as [`roost_shared::agent::AgentSpec::model`] has it.
    pub model: String,
    /// The system prompt, in blocks; the ones that change least come first.
    pub system: Arc<[String]>,
    /// The tools it may ask for.
    pub tools: Arc<[Arc<ToolDefinition>]>,
    /// The conversation: begins with the user, and neighbours have different roles.
    pub messages: Vec<Arc<Message>>,
    /// Tokens it may write.
    pub max_tokens: u32,
}

impl ModelRequest {
    pub(super) fn sorted_tools(&self) -> Vec<&ToolDefinition> {
        let mut tools: Vec<&ToolDefinition> = self.tools.iter().map(AsRef::as_ref).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        tools
    }
}

/// A tool call's arguments as providers take them back: always an object. What else the model wrote is kept inside one.
pub(super) fn object(input: &Value) -> Cow<'_, Value> {
    if input.is_object() {
        Cow::Borrowed(input)
    } else {
        Cow::Owned(json!({ "malformed_arguments": input }))
    }
}
