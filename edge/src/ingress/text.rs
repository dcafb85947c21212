//! What every channel does with text from outside: cut it to a limit, find who is mentioned in it.
//!
//! Invariant: nothing here fails or grows without bound, whatever the text.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// The most characters kept of what was said.
pub const TEXT_LIMIT: usize = 65_536;

/// The most characters kept of each thing it was said about.
pub const QUOTE_LIMIT: usize = 16_384;

/// The most characters kept of a name, a title, a label or a key.
pub const NAME_LIMIT: usize = 256;

/// The most bytes of an address; a longer one is left out.
pub const URL_LIMIT: usize = 2_048;

/// The most labels, mentions or quotes kept.
pub const LIST_LIMIT: usize = 100;

/// `text` if it has at most `limit` characters; else its beginning and a note of how much is missing.
pub fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!(
            "{}\n[{} more characters]",
            &text[..end],
            text[end..].chars().count()
        ),
    }
}

/// `name` on one line, at most [`NAME_LIMIT`] characters of it.
pub fn cut_name(name: &str) -> String {
    let line = name.lines().next().unwrap_or_default().trim();
    line.chars().take(NAME_LIMIT).collect()
}

/// `url` if it is a web address of bearable length.
pub fn web_address(url: Option<&str>) -> Option<String> {
    url.filter(|url| url.len() <= URL_LIMIT && (url.starts_with("https://") || url.starts_with("http://")))
        .map(str::to_owned)
}

/// The names mentioned in markdown as `@name` or `@group/name`, lower case, each once, without the `@`.
///
/// As on GitHub, code doesn't mention anybody. Nor does a block quote: who quotes a request doesn't repeat it.
pub fn mentions_in_markdown(markdown: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut text = String::new();
    let mut silent = 0_u32;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(_) | Tag::BlockQuote(_)) => silent += 1,
            Event::End(TagEnd::CodeBlock | TagEnd::BlockQuote(_)) => silent = silent.saturating_sub(1),
            // The parser hands out one word in several pieces ("@a", "_", "b"): they are put together before looking.
            Event::Text(piece) if silent == 0 => text.push_str(&piece),
            Event::Start(Tag::Emphasis | Tag::Strong) | Event::End(TagEnd::Emphasis | TagEnd::Strong) => {}
            Event::Code(_) => text.push('x'),
            _ => text.push('\n'),
        }
    }
    mentions_in_plain(&text, &mut names);
    names
}

/// The same in text without markup.
pub fn mentions_in_plain(text: &str, names: &mut Vec<String>) {
    let mut before = None;
    for (at, character) in text.char_indices() {
        if character == '@' && !before.is_some_and(|c: char| c.is_alphanumeric() || "_@/.-`".contains(c)) {
            let rest = &text[at + 1..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || "-_/".contains(c)))
                .unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches(['-', '_', '/']).to_ascii_lowercase();
            if !name.is_empty()
                && name.len() <= NAME_LIMIT
                && names.len() < LIST_LIMIT
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        before = Some(character);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mentions_are_people_not_addresses_code_or_quotes() {
        let text = "Hi @Ada-L, **@bob**: mail x@example.com or see `@code` (@org/team). @ada-l @\n\n\
                    > @quoted said so\n\n```\n@fenced\n```\n@snake_case";
        assert_eq!(
            mentions_in_markdown(text),
            ["ada-l", "bob", "org/team", "snake_case"]
        );
    }

    #[test]
    fn cutting_says_how_much_is_gone() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü", 2), "äö\n[1 more characters]");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_and_searched(text in "\\PC*", limit in 0_usize..20) {
            let kept = cut(&text, limit);
            prop_assert!(kept == text || kept.chars().count() <= limit + 40);
            prop_assert!(mentions_in_markdown(&text).iter().all(|name| !name.is_empty()));
        }
    }
}
