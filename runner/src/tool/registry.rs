//! The set of tools a run has.
//!
//! Invariant: definitions come out in the order of their names, whatever the order they were put in; a name is there once.

use std::{collections::BTreeMap, sync::Arc};

use roost_shared::effect::EffectClass;
use serde::Serialize;
use serde_json::Value;

use super::{Tool, ToolContext, ToolOutput};

/// What a model is told about a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its input.
    pub input_schema: Value,
}

/// Tools by name. Cheap to clone; what is told of them is made once and shared by all who tell it.
#[derive(Clone, Default)]
pub struct Tools {
    by_name: Arc<BTreeMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    tool: Arc<dyn Tool>,
    definition: Arc<ToolDefinition>,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl Tools {
    /// No tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, tool: impl Tool + 'static) -> Self {
        let name = tool.name().to_owned();
        let definition = Arc::new(ToolDefinition {
            name: name.clone(),
            description: tool.description().to_owned(),
            input_schema: tool.input_schema(),
        });
        let tool = Arc::new(tool);
        Arc::make_mut(&mut self.by_name).insert(name, Entry { tool, definition });
        self
    }

    /// Those of the tools whose names are listed; all of them if none is.
    #[must_use]
    pub fn only(&self, names: &[String]) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        let listed = |name: &str| names.iter().any(|listed| listed == name);
        let kept = self.by_name.iter().filter(|(name, _)| listed(name));
        let by_name = kept.map(|(name, entry)| (name.clone(), entry.clone())).collect();
        Self {
            by_name: Arc::new(by_name),
        }
    }

    /// What to tell the model, by name.
    pub fn definitions(&self) -> Vec<Arc<ToolDefinition>> {
        self.by_name
            .values()
            .map(|entry| entry.definition.clone())
            .collect()
    }

    /// The tool of that name.
    pub fn get(&self, name: &str) -> Option<&dyn Tool> {
        self.by_name.get(name).map(|entry| entry.tool.as_ref())
    }

    /// What repeating a call would do. A tool that isn't there does nothing, however often.
    pub fn effect_class(&self, name: &str) -> EffectClass {
        self.get(name).map_or(EffectClass::Pure, Tool::effect_class)
    }

    /// Calls a tool by name; what it says is cleaned of credentials. A name that isn't there is an error output that lists those that are.
    pub async fn call(&self, context: &ToolContext, name: &str, input: Value) -> ToolOutput {
        match self.get(name) {
            Some(tool) => {
                let mut output = tool.call(context, input).await;
                output.text = context.clean(output.text);
                output
            }
            None => {
                let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
                ToolOutput::error(format!("There is no tool {name:?}. Tools: {}.", names.join(", ")))
            }
        }
    }
}
