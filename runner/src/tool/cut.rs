//! Cutting what is too long for a model: the beginning and the end stay, the middle goes, and a note says how to see it.
//!
//! Invariant: the result is never longer than its limit in characters, and never cuts one in two.

use std::borrow::Cow;

/// How long a tool's output may be, in characters.
pub(super) const OUTPUT_CHARS: usize = 30_000;

/// How far a cut may move to fall between two lines.
const SNAP_CHARS: usize = 200;

/// `text`, or its two ends with a note between them. `hint` says how to see the rest, in a few words.
pub(super) fn cut<'a>(text: &'a str, limit: usize, hint: &str) -> Cow<'a, str> {
    let chars = text.chars().count();
    if chars <= limit {
        return Cow::Borrowed(text);
    }
    // As long as any count it can have.
    let room = limit.saturating_sub(note(chars, "characters", hint).chars().count());
    let (head, tail) = (first(text, room.div_ceil(2)), last(text, room / 2));
    let gone = chars - head.chars().count() - tail.chars().count();
    Cow::Owned(format!("{head}{}{tail}", note(gone, "characters", hint)))
}

/// The two ends of something whose middle was never fetched. `bytes`: how long all of it is.
pub(super) fn ends(head: &str, tail: &str, bytes: u64, limit: usize, hint: &str) -> String {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let room = limit.saturating_sub(note(bytes, "bytes", hint).chars().count());
    let (head, tail) = (first(head, room.div_ceil(2)), last(tail, room / 2));
    let gone = bytes.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", note(gone, "bytes", hint))
}

fn note(gone: usize, unit: &str, hint: &str) -> String {
    format!("\n[… {gone} {unit} cut here; {hint} …]\n")
}

/// At most `chars` from the start, up to the end of a line if one is near.
fn first(text: &str, chars: usize) -> &str {
    let end = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    match head.rfind('\n') {
        Some(line) if end < text.len() && head[line..].chars().count() <= SNAP_CHARS => &head[..=line],
        _ => head,
    }
}

/// At most `chars` from the end, from the start of a line if one is near.
fn last(text: &str, chars: usize) -> &str {
    let start = match chars.checked_sub(1) {
        Some(before) => text.char_indices().rev().nth(before).map_or(0, |(at, _)| at),
        None => text.len(),
    };
    let tail = &text[start..];
    match tail.find('\n') {
        Some(line) if start > 0 && tail[..line].chars().count() < SNAP_CHARS => &tail[line + 1..],
        _ => tail,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_cut_fits_and_keeps_both_ends(text in "[a-zä€\n]{0,900}", limit in 100_usize..600) {
            let short = cut(&text, limit, "read it all");
            prop_assert!(short.chars().count() <= limit);
            if text.chars().count() <= limit {
                prop_assert_eq!(short.as_ref(), text.as_str());
            } else {
                let (head, rest) = short.split_once("\n[… ").unwrap();
                let (note, tail) = rest.split_once(" …]\n").unwrap();
                prop_assert!(text.starts_with(head) && text.ends_with(tail));
                let gone: usize = note.split_once(' ').unwrap().0.parse().unwrap();
                prop_assert_eq!(gone + head.chars().count() + tail.chars().count(), text.chars().count());
            }
        }

        #[test]
        fn two_ends_fit_too(head in "[a-z\n]{0,900}", tail in "[a-z\n]{0,900}", limit in 100_usize..600) {
            prop_assert!(ends(&head, &tail, 1 << 40, limit, "read it all").chars().count() <= limit);
        }
    }
}
