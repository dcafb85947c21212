//! The tools of an agent in a sprite of our own host: the shell that lasts, and files with their conflicts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod fixture;
mod git;
mod shell;
mod successor;
mod wire;

use std::path::Path;

use roost_runner::tool::{ToolDefinition, standard};
use roost_shared::effect::EffectClass;

#[test]
fn the_list_of_tools_is_sorted_stable_and_documented() {
    let told = || {
        let definitions = standard().definitions();
        let definitions: Vec<&ToolDefinition> = definitions.iter().map(AsRef::as_ref).collect();
        serde_json::to_string(&definitions).unwrap()
    };
    assert_eq!(told(), told());
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/tools.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let tools = standard();
    let mut names: Vec<_> = tools.definitions().iter().map(|tool| tool.name.clone()).collect();
    for name in &names {
        let class = match tools.effect_class(name) {
            EffectClass::Pure => "pure",
            EffectClass::Idempotent => "idempotent",
            EffectClass::AtMostOnce => "at_most_once",
            EffectClass::NeedsApproval => "needs_approval",
        };
        assert!(
            manual
                .lines()
                .any(|line| line.starts_with(&format!("| `{name}` | {class} |"))),
            "{name} is not in the manual"
        );
    }
    let given = names.clone();
    names.sort();
    assert_eq!(given, names);
}
