//! `edit_file`: replace a piece of text in a file, byte for byte.
//!
//! Invariant: nothing but the named text changes; it is found exactly once unless all of it is meant; a file that was changed
//! since the agent saw it is left alone. A call that is repeated after a crash finds its own receipt and edits once.

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memmem;
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolContext, ToolOutput,
    input::{file_error, parse, sprite_error},
    path::AgentPath,
    seen::Fingerprint,
    write_file::changed,
};
use crate::sprite::{FileErrorKind, SpriteError};

/// How many of several matches are named.
const NAMED_LINES: usize = 10;
const RECEIPT_BYTES: usize = 1_024;

/// Replaces text in a file, byte for byte.
#[derive(Debug, Clone, Copy, Default)]
pub struct EditFile;

#[derive(Debug, Deserialize)]
struct Input {
    path: String,
    old: String,
    new: String,
    #[serde(default)]
    replace_all: bool,
}

#[async_trait]
impl Tool for EditFile {
    fn name(&self) -> &'static str {
        "edit_file"
    }

    fn description(&self) -> &'static str {
        "Replaces text in a file. `old` must be in the file exactly once, byte for byte with its indentation and without \
         line numbers: add lines around it until it is unique, or set replace_all. \
         Fails if the file has changed since you last read it."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Path of the file; relative paths start in the home directory."},
                "old": {"type": "string", "description": "The text to replace."},
                "new": {"type": "string", "description": "What to put in its place."},
                "replace_all": {"type": "boolean", "description": "Replace every occurrence; false by default."},
            },
            "required": ["path", "old", "new"],
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
        // Held to the end: two edits of one answer must not overwrite each other.
        let mut seen = context.seen().await;
        let content = match context.sprite().read(path.as_str()).await {
            Ok(content) => content,
            Err(error) => return file_error(&path, &error),
        };
        let receipt = Receipt::of(context);
        match receipt.find(context, &content).await {
            Ok(Some(said)) => {
                seen.note(&path, &content);
                return ToolOutput::ok(said);
            }
            Ok(None) => {}
            Err(error) => return sprite_error(&error),
        }
        if seen.is_stale(&path, &content) {
            return changed(&path);
        }
        let (edited, lines) = match replace(&content, &input) {
            Ok(done) => done,
            Err(why) => return ToolOutput::error(format!("{path}: {why}")),
        };
        let said = match lines.as_slice() {
            [line] => format!("Edited {path} at line {line}."),
            lines => format!("Edited {path} at {} places.", lines.len()),
        };
        let written = async {
            receipt.leave(context, &edited, &said).await?;
            context.sprite().write(path.as_str(), edited.clone(), None).await
        };
        match written.await {
            Ok(()) => {
                seen.note(&path, &edited);
                ToolOutput::ok(said)
            }
            Err(error) => file_error(&path, &error),
        }
    }
}

/// The edited content and the line of each place, or what the agent should do instead.
fn replace(content: &[u8], input: &Input) -> Result<(Bytes, Vec<usize>), String> {
    let (old, new) = (input.old.as_bytes(), input.new.as_bytes());
    if old.is_empty() {
        return Err("`old` is empty. To write a whole file use write_file.".into());
    }
    if old == new {
        return Err("`old` and `new` are the same; nothing to do.".into());
    }
    let places: Vec<usize> = memmem::find_iter(content, old).collect();
    let lines: Vec<usize> = places.iter().map(|place| line_of(content, *place)).collect();
    match places.len() {
        0 => return Err(not_found(content, &input.old)),
        1 => {}
        _ if input.replace_all => {}
        count => {
            let named: Vec<_> = lines.iter().take(NAMED_LINES).map(ToString::to_string).collect();
            let more = if count > NAMED_LINES { ", …" } else { "" };
            return Err(format!(
                "`old` is there {count} times, at lines {}{more}. Add lines around it until it is unique, or set replace_all.",
                named.join(", ")
            ));
        }
    }
    let mut edited = Vec::with_capacity(content.len() + places.len() * new.len());
    let mut from = 0;
    for place in places {
        edited.extend_from_slice(&content[from..place]);
        edited.extend_from_slice(new);
        from = place + old.len();
    }
    edited.extend_from_slice(&content[from..]);
    Ok((edited.into(), lines))
}

fn line_of(content: &[u8], place: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &content[..place]).count()
}

/// Says why it may not have been found: the commonest reason is white space.
fn not_found(content: &[u8], old: &str) -> String {
    let text = String::from_utf8_lossy(content);
    let first = old.lines().map(str::trim).find(|line| !line.is_empty());
    let near = first.and_then(|first| text.lines().position(|line| line.trim() == first));
    match near {
        Some(line) => format!(
            "`old` is not in the file as given, though line {} is like its first line; \
             look at the white space and the lines after it, and copy them exactly.",
            line + 1
        ),
        None => {
            "`old` is not in the file. Read the file and copy the text exactly, without line numbers.".into()
        }
    }
}

/// What a call leaves behind before it writes, so that its repetition knows that the edit was made: the fingerprint of the
/// edited content, and what to say.
struct Receipt(Option<String>);

impl Receipt {
    fn of(context: &ToolContext) -> Self {
        Self(context.own_file("edit"))
    }

    /// What the call said, if the file already has the content it was to get.
    async fn find(&self, context: &ToolContext, content: &[u8]) -> Result<Option<String>, SpriteError> {
        let Some(file) = &self.0 else { return Ok(None) };
        let left = match context.sprite().read_at_most(file, RECEIPT_BYTES).await {
            Ok(left) => left,
            Err(SpriteError::File {
                kind: FileErrorKind::NotFound,
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let left = String::from_utf8_lossy(&left);
        let same = left
            .split_once(' ')
            .filter(|(print, _)| *print == Fingerprint::of(content).to_string());
        Ok(same.map(|(_, said)| said.to_owned()))
    }

    async fn leave(&self, context: &ToolContext, edited: &[u8], said: &str) -> Result<(), SpriteError> {
        let Some(file) = &self.0 else { return Ok(()) };
        context
            .sprite()
            .write(file, format!("{} {said}", Fingerprint::of(edited)), None)
            .await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(old: &str, new: &str, replace_all: bool) -> Input {
        Input {
            path: String::new(),
            old: old.into(),
            new: new.into(),
            replace_all,
        }
    }

    proptest! {
        #[test]
        fn only_the_named_text_changes(
            before in proptest::collection::vec(any::<u8>(), 0..60),
            old in "[a-z]{1,8}\n?",
            new in "[A-Z\r\n]{0,8}",
            after in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let content = [&before[..], old.as_bytes(), &after[..]].concat();
            prop_assume!(memmem::find_iter(&content, &old).count() == 1);
            let (edited, lines) = replace(&content, &input(&old, &new, false)).unwrap();
            prop_assert_eq!(&edited[..], [&before[..], new.as_bytes(), &after[..]].concat());
            prop_assert_eq!(lines, [1 + before.iter().filter(|byte| **byte == b'\n').count()]);
        }

        #[test]
        fn all_occurrences_or_none(text in "[ab\n]{0,80}", old in "[ab]{1,3}") {
            let count = text.matches(&old).count();
            let all = replace(text.as_bytes(), &input(&old, "X", true));
            let one = replace(text.as_bytes(), &input(&old, "X", false));
            prop_assert_eq!(all.is_ok(), count > 0);
            prop_assert_eq!(one.is_ok(), count == 1);
            if let Ok((edited, lines)) = all {
                prop_assert_eq!(String::from_utf8(edited.to_vec()).unwrap(), text.replace(&old, "X"));
                prop_assert_eq!(lines.len(), count);
            }
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let content = b"fn a() {\n    one();\n}\nfn a() {\n";
        let why = |old: &str, new: &str| replace(content, &input(old, new, false)).unwrap_err();
        assert!(why("fn a() {", "x").contains("2 times, at lines 1, 4"));
        assert!(why("\tone();", "x").contains("line 2"));
        assert!(why("three();", "x").contains("Read the file"));
        assert!(why("", "x").contains("write_file"));
        assert!(why("one", "one").contains("the same"));
    }
}
