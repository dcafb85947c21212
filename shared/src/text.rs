//! Numbers and spans in words, and text from outside made fit to be read, on a page or in a terminal.
//!
//! Invariant: what [`plain`] gives can't move a cursor, colour a screen or turn the reading direction.

use std::time::Duration;

use crate::{MicroUsd, UnixMillis};

/// How long ago, roughly: `just now`, `12 s ago`, `3 min ago`, `2 h ago`, `5 d ago`. The script keeps the same steps.
pub fn ago(now: UnixMillis, then: UnixMillis) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A span: `85 ms`, `1.2 s`, `48 s`, `3 min 4 s`, `2 h 5 min`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The same of milliseconds.
pub fn millis(millis: u64) -> String {
    span(Duration::from_millis(millis))
}

/// A number with its thousands apart.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 turn`, `2 turns`.
pub fn count(count: u64, one: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {one}{ending}", number(count))
}

/// Bytes: `812 B`, `5.3 KB`, `1.2 MB`.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Money to the hundredth of a cent, which is as much as a glance can use.
pub fn money(amount: MicroUsd) -> String {
    match amount.0 {
        1..100 => "< $0.0001".to_owned(),
        cents if cents % 10_000 == 0 => amount.to_string(),
        _ => MicroUsd((amount.0 + 50) / 100 * 100).to_string(),
    }
}

/// The beginning of a text, on one line.
pub fn line(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    line.retain(|c| !turns(c));
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Text of a terminal as plain text: no colours or cursor movements, no control characters, lines ended by `\n`.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => match rest.next() {
                // ECMA-48: a control sequence ends with a character of @ to ~.
                Some('[') => {
                    rest.by_ref().find(|c| ('@'..='~').contains(c));
                }
                // A title or a link ends with BEL or ESC \.
                Some(']') => {
                    let end = rest.by_ref().find(|c| matches!(c, '\u{7}' | '\u{1b}'));
                    if end == Some('\u{1b}') {
                        rest.next();
                    }
                }
                _ => {}
            },
            '\r' => {
                rest.next_if_eq(&'\n');
                plain.push('\n');
            }
            '\n' | '\t' => plain.push(character),
            c if c.is_control() || turns(c) => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Whether a character turns the reading direction of what follows by force, which makes text look like other text.
fn turns(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        let now = UnixMillis(1_000_000_000);
        for (seconds, text) in [
            (0, "just now"),
            (59, "59 s ago"),
            (61, "1 min ago"),
            (7_300, "2 h ago"),
            (600_000, "6 d ago"),
        ] {
            assert_eq!(ago(now, now - Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            [85, 1_240, 48_900, 184_000, 7_500_000].map(millis),
            ["85 ms", "1.2 s", "48 s", "3 min 4 s", "2 h 5 min"]
        );
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(number),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 7, 225, 1_500_000, 1_234_567].map(|amount| money(MicroUsd(amount))),
            ["$0.00", "< $0.0001", "$0.0002", "$1.50", "$1.2346"]
        );
    }

    #[test]
    fn a_terminals_text_becomes_plain() {
        let text = "\u{1b}[1;31mred\u{1b}[0m\r\n\u{1b}]0;title\u{7}10%\r100%\u{8}\t\u{202e}.";
        assert_eq!(plain(text), "red\n10%\n100%\t.");
    }

    proptest! {
        #[test]
        fn any_text_is_made_fit(text in "[\u{1b}\r\n\\[\\]m@\u{7}a-c\u{202e}]{0,40}", limit in 0_usize..9) {
            let fit = plain(&text);
            prop_assert!(fit.chars().all(|c| !(c.is_control() || turns(c)) || matches!(c, '\n' | '\t')));
            prop_assert!(line(&text, limit).chars().count() <= limit + 1);
        }
    }
}
