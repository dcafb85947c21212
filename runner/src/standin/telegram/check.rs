//! What Telegram demands of a text and its entities.

use serde::Deserialize;
use serde_json::Value;

/// UTF-16 units a message's text may have.
const TEXT: usize = 4_096;

/// The kinds of entities that may be sent, besides those Telegram finds by itself.
const KINDS: [&str; 17] = [
    "mention",
    "hashtag",
    "cashtag",
    "bot_command",
    "url",
    "email",
    "phone_number",
    "bold",
    "italic",
    "underline",
    "strikethrough",
    "spoiler",
    "blockquote",
    "expandable_blockquote",
    "code",
    "pre",
    "text_link",
];

#[derive(Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    url: Option<String>,
}

/// The words Telegram refuses with, if it does.
pub(super) fn refusal(text: &str, entities: &[Value]) -> Option<String> {
    if text.trim().is_empty() {
        return Some("Bad Request: message text is empty".to_owned());
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    if units.len() > TEXT {
        return Some("Bad Request: message is too long".to_owned());
    }
    let mut read = Vec::new();
    for entity in entities {
        let words = |reason: &str| Some(format!("Bad Request: can't parse entities: {reason}"));
        let Ok(entity) = Entity::deserialize(entity) else {
            return words("expected an entity with type, offset and length");
        };
        if !KINDS.contains(&entity.kind.as_str()) {
            return words("unsupported entity type");
        }
        let end = entity.offset.checked_add(entity.length);
        let Some(end) = end.filter(|end| *end <= units.len() && entity.length > 0) else {
            return words("the entity lies outside the text");
        };
        let splits = |at: usize| units.get(at).is_some_and(|unit| (0xdc00..=0xdfff).contains(unit));
        if splits(entity.offset) || splits(end) {
            return words("the entity cuts a character in two");
        }
        if entity.kind == "text_link" && entity.url.as_deref().is_none_or(str::is_empty) {
            return words("the link has no url");
        }
        read.push((entity, end));
    }
    overlap(&read).then(|| "Bad Request: can't parse entities: entities overlap".to_owned())
}

/// Whether two entities share a part of the text and neither contains the other, or one lies in code.
fn overlap(entities: &[(Entity, usize)]) -> bool {
    entities.iter().enumerate().any(|(index, (one, one_end))| {
        entities[index + 1..].iter().any(|(other, other_end)| {
            let apart = *one_end <= other.offset || *other_end <= one.offset;
            let holds = one.offset <= other.offset && other_end <= one_end;
            let lies_in = other.offset <= one.offset && one_end <= other_end;
            let is_code = |entity: &Entity| matches!(entity.kind.as_str(), "code" | "pre");
            let in_code = (holds && is_code(one)) || (lies_in && is_code(other));
            !apart && (in_code || !(holds || lies_in))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refuses_what_telegram_refuses() {
        let bold = |offset: usize, length: usize| json!({"type": "bold", "offset": offset, "length": length});
        let code = json!({"type": "code", "offset": 0, "length": 2});
        assert_eq!(refusal("🚀x", &[bold(0, 2), bold(2, 1)]), None);
        assert_eq!(refusal(&"🚀".repeat(2_048), &[]), None);
        assert!(refusal(&"🚀".repeat(2_049), &[]).unwrap().contains("too long"));
        assert!(refusal(" \n", &[]).unwrap().contains("empty"));
        for wrong in [
            vec![bold(0, 1)],
            vec![bold(2, 2)],
            vec![bold(0, 0)],
            vec![code, bold(0, 2)],
        ] {
            assert!(
                refusal("🚀x", &wrong).unwrap().contains("can't parse entities"),
                "{wrong:?}"
            );
        }
        assert!(
            refusal("abc", &[bold(0, 2), bold(1, 2)])
                .unwrap()
                .contains("overlap")
        );
    }
}
