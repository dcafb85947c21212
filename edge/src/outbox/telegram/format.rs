//! Markdown as a Telegram message: plain text and a list of entities, so that no character of it can break a parser.
//!
//! Invariant: offsets and lengths count UTF-16 units, lie inside the text, and entities that overlap contain each other
//! as [Telegram allows](https://core.telegram.org/bots/api#messageentity): nothing inside code, one link at a time.

use serde::Serialize;

use crate::outbox::markdown::{Run, Style, runs};

/// The most UTF-16 units of one message.
const TEXT_LIMIT: usize = 4_096;

/// The most entities of one message; Telegram drops those after.
const ENTITY_LIMIT: usize = 100;

/// A message's text and its formatting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::outbox) struct Message {
    pub(in crate::outbox) text: String,
    pub(in crate::outbox) entities: Vec<Entity>,
}

/// A formatted stretch of a message, as Telegram writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::outbox) struct Entity {
    #[serde(rename = "type")]
    kind: &'static str,
    offset: usize,
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
}

impl Message {
    /// Whether Telegram takes it whole.
    pub(in crate::outbox) fn fits(&self) -> bool {
        self.text.encode_utf16().count() <= TEXT_LIMIT && self.entities.len() <= ENTITY_LIMIT
    }
}

/// The message that shows `markdown`. What shows nothing (a lone link definition) is shown as it was written.
pub(in crate::outbox) fn format(markdown: &str) -> Message {
    let runs = trimmed(runs(markdown));
    if runs.is_empty() {
        return Message {
            text: markdown.trim().to_owned(),
            entities: Vec::new(),
        };
    }
    let mut message = Message {
        text: String::new(),
        entities: Vec::new(),
    };
    let mut open: Vec<Entity> = Vec::new();
    let mut offset = 0;
    for run in &runs {
        let length = run.text.encode_utf16().count();
        let wanted = entities(&run.style, offset, length);
        // What goes on from the run before grows, up to the first that doesn't: what was opened inside that one ends with
        // it and is opened again, or the two would cross.
        let kept = open
            .iter()
            .take_while(|entity| wanted.iter().any(|other| other.is_like(entity)))
            .count();
        message.entities.extend(open.drain(kept..));
        for entity in wanted {
            match open.iter_mut().find(|other| other.is_like(&entity)) {
                Some(other) => other.length += length,
                None => open.push(entity),
            }
        }
        message.text.push_str(&run.text);
        offset += length;
    }
    message.entities.extend(open);
    message
        .entities
        .sort_by_key(|entity| (entity.offset, std::cmp::Reverse(entity.length)));
    message
}

impl Entity {
    fn is_like(&self, other: &Self) -> bool {
        (self.kind, &self.url, &self.language) == (other.kind, &other.url, &other.language)
    }
}

fn entities(style: &Style, offset: usize, length: usize) -> Vec<Entity> {
    let entity = |kind| Entity {
        kind,
        offset,
        length,
        url: None,
        language: None,
    };
    let mut all = Vec::new();
    if style.quote {
        all.push(entity("blockquote"));
    }
    if let Some(language) = &style.block {
        all.push(Entity {
            language: Some(language.clone()).filter(|language| !language.is_empty()),
            ..entity("pre")
        });
        return all;
    }
    if style.code {
        all.push(entity("code"));
        return all;
    }
    if let Some(url) = &style.link {
        all.push(Entity {
            url: Some(url.clone()),
            ..entity("text_link")
        });
    }
    let kinds = [
        ("bold", style.bold),
        ("italic", style.italic),
        ("strikethrough", style.strike),
    ];
    all.extend(
        kinds
            .into_iter()
            .filter(|(_, wanted)| *wanted)
            .map(|(kind, _)| entity(kind)),
    );
    all
}

/// Without white space at the ends, which Telegram takes away without moving the entities.
fn trimmed(mut runs: Vec<Run>) -> Vec<Run> {
    while let Some(last) = runs.last_mut() {
        last.text.truncate(last.text.trim_end().len());
        if !last.text.is_empty() {
            break;
        }
        runs.pop();
    }
    let blank = runs
        .iter()
        .take_while(|run| run.text.trim_start().is_empty())
        .count();
    runs.drain(..blank);
    if let Some(first) = runs.first_mut() {
        first.text = first.text.trim_start().to_owned();
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `kind:stretch` of every entity.
    fn shown(markdown: &str) -> Vec<String> {
        let message = format(markdown);
        let units: Vec<u16> = message.text.encode_utf16().collect();
        let stretch = |entity: &Entity| {
            let words = String::from_utf16(&units[entity.offset..entity.offset + entity.length]).unwrap();
            let more = entity.url.as_ref().or(entity.language.as_ref());
            format!(
                "{}{}:{words}",
                entity.kind,
                more.map(|more| format!("({more})")).unwrap_or_default()
            )
        };
        message.entities.iter().map(stretch).collect()
    }

    #[test]
    fn formatting_becomes_entities_in_utf_16() {
        assert_eq!(
            shown(
                "# 🚀 Title\n**bold _both_** ~~no~~ `co🚀de` [li**nk**](https://e.x) \n```rust\nlet a;\n```\n> quo\n>\n> te"
            ),
            [
                "bold:🚀 Title",
                "bold:bold both",
                "italic:both",
                "strikethrough:no",
                "code:co🚀de",
                "text_link(https://e.x):link",
                "bold:nk",
                "pre(rust):let a;",
                "blockquote:quo\n\nte",
            ]
        );
    }

    #[test]
    fn bold_makes_way_for_code_inside_it() {
        assert_eq!(shown("**a `b` c**"), ["bold:a ", "code:b", "bold: c"]);
        assert_eq!(shown("[`b`](https://e.x)"), ["text_link(https://e.x):b"]);
    }

    #[test]
    fn neighbours_of_one_kind_do_not_cross_what_ends_between_them() {
        assert_eq!(
            shown("~~s *[*~~*i*"),
            ["strikethrough:s [", "italic:[", "italic:i"]
        );
    }

    #[test]
    fn what_shows_nothing_is_shown_as_written() {
        assert_eq!(format("[a]: https://e.x").text, "[a]: https://e.x");
        assert_eq!(format("  \n\n **x**  ").text, "x");
    }

    proptest! {
        #[test]
        fn entities_lie_inside_the_text_and_nest(markdown in "[a🚀*_`~>\\-# \\n\\[\\](hps:/.x)1|]{0,120}") {
            let message = format(&markdown);
            let units = message.text.encode_utf16().count();
            for (at, one) in message.entities.iter().enumerate() {
                prop_assert!(one.length > 0 && one.offset + one.length <= units);
                for other in &message.entities[at + 1..] {
                    let apart = other.offset >= one.offset + one.length;
                    let inside = other.offset + other.length <= one.offset + one.length;
                    prop_assert!(apart || inside, "{one:?} {other:?}");
                    prop_assert!(apart || !matches!(one.kind, "code" | "pre"), "{one:?} {other:?}");
                }
            }
        }
    }
}
