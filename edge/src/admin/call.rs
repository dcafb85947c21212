//! One tool call: what was asked for and what came of it.

use maud::{Markup, html};
use roost_shared::transcript::{ToolCall, ToolResult};
use serde_json::Value;

use super::{show, text};

/// Arguments that say in a word what a call is about, most telling first.
const TELLING: [&str; 8] = [
    "command",
    "path",
    "file_path",
    "pattern",
    "query",
    "url",
    "name",
    "text",
];

/// How far a call has come.
pub(super) enum Progress<'a> {
    /// Asked for, not begun.
    Asked,
    /// Begun.
    Started,
    /// Answered, after so many milliseconds.
    Finished(&'a ToolResult, u64),
    /// It will not be answered: its runner died, or the run ended.
    Torn,
}

/// The call as an entry of the timeline.
pub(super) fn show(call: &ToolCall, progress: &Progress<'_>) -> Markup {
    let state = match progress {
        Progress::Asked => "waiting",
        Progress::Started => "running",
        Progress::Finished(result, _) if result.is_error => "failed",
        Progress::Finished(..) => "done",
        Progress::Torn => "interrupted",
    };
    html! {
        p.line {
            strong.tool { bdi { (call.name) } }
            @if let Some(about) = about(&call.input) { " " code.about { (about) } }
            " " (show::state(state))
            @if let Progress::Finished(_, took) = progress { " " span.muted { (text::millis(*took)) } }
        }
        details.input {
            summary { "Input" }
            (input(&call.input))
        }
        @if let Progress::Finished(result, _) = progress {
            div.output aria-label={ "Output of " (call.name) } {
                @if result.text.trim().is_empty() {
                    p.muted { "No output." }
                } @else {
                    (show::block(&result.text))
                }
            }
        }
        @if matches!(progress, Progress::Torn) {
            p.muted { "It ended without an answer. What it did in the sprite before that is done." }
        }
    }
}

/// What the call is about, on one line.
fn about(input: &Value) -> Option<String> {
    let fields = input.as_object()?;
    let told = TELLING
        .iter()
        .find_map(|name| fields.get(*name)?.as_str())
        .or_else(|| fields.values().find_map(Value::as_str))?;
    Some(text::line(&text::plain(told), 100))
}

fn input(input: &Value) -> Markup {
    match input.as_object() {
        Some(fields) if fields.is_empty() => html! { p.muted { "No arguments." } },
        Some(fields) => html! {
            dl.fields {
                @for (name, value) in fields {
                    dt { bdi { (name) } }
                    dd { (argument(value)) }
                }
            }
        },
        None => argument(input),
    }
}

fn argument(value: &Value) -> Markup {
    match value {
        Value::String(text) => show::block(text),
        other => show::block(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}
