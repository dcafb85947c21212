//! Splitting a reply into messages the channel takes: at paragraphs if possible, else at lines, words, letters.
//!
//! Invariant: every piece fits one message of its channel, and no visible character is lost. What is open at a cut
//! (a code block, bold, a quote) is closed before it and opened again after it, so that each piece stands by itself.

mod outline;

use roost_shared::work::ReplyTo;

use self::outline::{Kind, Outline, Seam, Span};
use super::{
    github::COMMENT_LIMIT,
    markdown::{Style, runs},
    telegram::format::format,
};

/// A piece should fill at least this part of a message before a better seam is preferred to a fuller piece.
const FILL: [(Seam, usize); 4] = [
    (Seam::Paragraph, 2),
    (Seam::Line, 4),
    (Seam::Word, 16),
    (Seam::Letter, usize::MAX),
];

/// How many cuts of a seam are tried, from the last that fits backwards, before the next seam's turn comes.
const TRIES: usize = 6;

/// The reply in pieces, each of which fits one message of the channel; none for a reply without text.
pub fn split(to: &ReplyTo, text: &str) -> Vec<String> {
    let channel = match to {
        ReplyTo::Github { .. } => Channel::Github,
        ReplyTo::Telegram { .. } => Channel::Telegram,
        ReplyTo::Generic { .. } => Channel::Generic,
    };
    let mut rest = trim(&text.replace("\r\n", "\n")).to_owned();
    let mut pieces = Vec::new();
    while !rest.trim().is_empty() {
        if channel.fits(&rest) {
            pieces.push(closed(rest));
            break;
        }
        let (piece, left) = cut(channel, &rest);
        pieces.extend(Some(piece).filter(|piece| !piece.trim().is_empty()));
        rest = left;
    }
    pieces
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Github,
    Telegram,
    Generic,
}

impl Channel {
    /// Whether one message takes `markdown`. Receivers of generic webhooks take what they are sent.
    fn fits(self, markdown: &str) -> bool {
        match self {
            Self::Github => markdown.encode_utf16().count() <= COMMENT_LIMIT,
            Self::Telegram => format(markdown).fits(),
            Self::Generic => true,
        }
    }

    /// About the most bytes of markdown that one message takes.
    fn size(self) -> usize {
        match self {
            Self::Github | Self::Generic => COMMENT_LIMIT,
            Self::Telegram => 4_096,
        }
    }
}

/// The first piece of a text that doesn't fit, and the rest.
fn cut(channel: Channel, text: &str) -> (String, String) {
    let window = window(channel, text);
    let outline = Outline::of(window);
    let reach = reach(channel, window, &outline);
    let whole = seen(window);
    let (mut second_best, mut third_best) = (None, None);
    for (seam, part) in FILL {
        let cuts = outline.cuts(seam);
        let end = cuts.partition_point(|at| *at <= reach);
        for at in cuts[..end].iter().rev().take(TRIES).copied() {
            if at < channel.size() / part {
                break;
            }
            let piece = before(window, at, &outline);
            let left = after(window, at, &outline);
            let is_step = left.len() + channel.size() / 32 <= window.len();
            if piece.is_empty() || !is_step || !channel.fits(&piece) {
                continue;
            }
            let mut parts = seen(&piece);
            for (letters, style) in seen(&left) {
                see(&mut parts, &letters, style);
            }
            let is_table = outline
                .open_at(at)
                .iter()
                .any(|span| matches!(span.kind, Kind::Table { .. }));
            let is_same_text = letters(&whole) == letters(&parts);
            let are_same_words = is_same_text || words(&whole) == words(&parts);
            let left = left + &text[window.len()..];
            // A table's head is repeated, which is seen and is meant to be.
            if is_table || whole == parts {
                return (piece, left);
            }
            // Else formatting may suffer, then numbers of lists, but no word.
            if is_same_text {
                second_best = second_best.or(Some((piece, left)));
            } else if are_same_words {
                third_best = third_best.or(Some((piece, left)));
            }
        }
    }
    second_best
        .or(third_best)
        .unwrap_or_else(|| plain_cut(channel, text))
}

/// About how far the text fits. More text takes more room, nearly always; what is cut in the end is proved to fit.
fn reach(channel: Channel, text: &str, outline: &Outline) -> usize {
    let cuts = outline.all_cuts();
    let fits = |at: &usize| channel.fits(&before(text, *at, outline));
    let mut size = channel.size();
    loop {
        let near = cuts.partition_point(|at| *at <= size);
        if near == cuts.len() || !fits(&cuts[near]) {
            let end = cuts[..near].partition_point(fits);
            return end.checked_sub(1).map_or(0, |last| cuts[last]);
        }
        size *= 2;
    }
}

/// As much of the text's beginning as is surely more than a message: so much that what is open at a cut ends in it.
fn window(channel: Channel, text: &str) -> &str {
    let mut size = channel.size() * 16;
    loop {
        let window = &text[..text.floor_char_boundary(size)];
        if window.len() == text.len() || !channel.fits(window) {
            return window;
        }
        size *= 2;
    }
}

/// Where nothing else helps: as many letters as fit, and markdown broken where it breaks.
fn plain_cut(channel: Channel, text: &str) -> (String, String) {
    let mut end = text.floor_char_boundary(channel.size());
    while end > 1 && !channel.fits(&text[..end]) {
        end = text.floor_char_boundary(end * 3 / 4);
    }
    let end = end.max(text.chars().next().map_or(0, char::len_utf8));
    (text[..end].to_owned(), text[end..].to_owned())
}

/// What a reader sees: stretches of letters of one style, without white space.
type Seen = Vec<(String, Style)>;

fn seen(markdown: &str) -> Seen {
    let mut seen = Vec::new();
    for run in runs(markdown) {
        let letters: String = run.text.split_whitespace().collect();
        see(&mut seen, &letters, run.style);
    }
    seen
}

fn see(seen: &mut Seen, letters: &str, style: Style) {
    match seen.last_mut() {
        _ if letters.is_empty() => {}
        Some((before, other)) if *other == style => before.push_str(letters),
        _ => seen.push((letters.to_owned(), style)),
    }
}

fn letters(seen: &Seen) -> String {
    seen.iter().map(|(letters, _)| letters.as_str()).collect()
}

fn words(seen: &Seen) -> String {
    letters(seen)
        .chars()
        .filter(|letter| letter.is_alphabetic())
        .collect()
}

/// The text before `at`, with everything open closed.
fn before(text: &str, at: usize, outline: &Outline) -> String {
    let open = outline.open_at(at);
    let mut piece = trim(&text[..at]).to_owned();
    // Quote marks and list markers of the line that goes on in the next piece.
    while let Some(line) = piece.rfind('\n').map(|end| &piece[end..]) {
        if !line.trim_start_matches(['\n', ' ', '>']).is_empty() {
            break;
        }
        piece.truncate(piece.len() - line.len());
        piece.truncate(piece.trim_end().len());
    }
    for (index, span) in open.iter().enumerate().rev() {
        match &span.kind {
            Kind::Marked { mark } => piece.push_str(mark),
            Kind::Link { closing } => piece.push_str(closing),
            Kind::Fence { closing, .. } => {
                piece.push('\n');
                piece.push_str(&margin(&open[..index]));
                piece.push_str(closing);
            }
            Kind::Quote { .. } | Kind::Item { .. } | Kind::Numbered { .. } | Kind::Table { .. } => {}
        }
    }
    piece
}

/// What stands before a line inside these blocks, for a piece of its own: quote marks, and the indentation of items.
fn margin(open: &[&Span]) -> String {
    let mut margin = String::new();
    for span in open {
        match span.kind {
            Kind::Quote { .. } => margin.push_str("> "),
            Kind::Item { column } => {
                let width = column.saturating_sub(margin.len());
                margin.push_str(&" ".repeat(width));
            }
            _ => {}
        }
    }
    margin
}

/// The text from `at` on, with everything opened again, and what was indented as part of an item moved to the margin.
fn after(text: &str, at: usize, outline: &Outline) -> String {
    let open = outline.open_at(at);
    let quotes = "> ".repeat(
        open.iter()
            .filter(|span| matches!(span.kind, Kind::Quote { .. }))
            .count(),
    );
    let mut piece = quotes.clone();
    for span in &open {
        match &span.kind {
            Kind::Marked { mark } => piece.push_str(mark),
            Kind::Link { .. } => piece.push('['),
            Kind::Fence { opening, .. } => {
                piece.push_str(opening);
                piece.push('\n');
                piece.push_str(&quotes);
            }
            Kind::Table { head } => {
                let lines = text[span.range.start..*head]
                    .trim_end_matches(['>', ' ', '\n'])
                    .split('\n');
                for line in lines {
                    piece.push_str(line.trim_start_matches(['>', ' ']));
                    piece.push('\n');
                    piece.push_str(&quotes);
                }
            }
            Kind::Quote { .. } | Kind::Item { .. } | Kind::Numbered { .. } => {}
        }
    }
    let numbers: Vec<_> = open
        .iter()
        .filter_map(|span| next_number(span, at, outline))
        .collect();
    // Where an item ends that lost its marker, so that what follows is not taken for a part of its last paragraph.
    let mut ends: Vec<_> = open
        .iter()
        .filter(|span| matches!(span.kind, Kind::Item { .. }))
        .map(|span| span.range.end)
        .collect();
    let mut offset = at;
    for (index, line) in text[at..].split('\n').enumerate() {
        let start = if index == 0 {
            0
        } else {
            indentation(line, offset, &open)
        };
        if index > 0 {
            piece.push('\n');
        }
        let still_open = ends.iter().filter(|end| offset < **end).count();
        if still_open < ends.len() {
            ends.retain(|end| offset < *end);
            piece.push_str(&quotes);
            piece.push('\n');
        }
        let mut rest = &line[start..];
        // The first number of a list is the one that counts, so the list that goes on here gets its real one.
        let here = offset + start..offset + line.len();
        if let Some((item, number)) = numbers.iter().find(|(item, _)| here.contains(item)) {
            let marker = item - here.start;
            let digits = rest[marker..].bytes().take_while(u8::is_ascii_digit).count();
            piece.push_str(&rest[..marker]);
            piece.push_str(&number.to_string());
            rest = &rest[marker + digits..];
        }
        piece.push_str(rest);
        offset += line.len() + 1;
    }
    match open.iter().any(|span| matches!(span.kind, Kind::Fence { .. })) {
        true => piece,
        false => trim_start(&piece).to_owned(),
    }
}

/// How much of the line at `offset` is indentation that it has as part of the open items.
fn indentation(line: &str, offset: usize, open: &[&Span]) -> usize {
    let is_inside = |span: &&&Span| offset < span.range.end;
    let has_quotes = open.iter().any(|span| matches!(span.kind, Kind::Quote { .. }));
    let column = open
        .iter()
        .filter(is_inside)
        .rev()
        .find_map(|span| match span.kind {
            Kind::Item { column } => Some(column),
            _ => None,
        });
    match column {
        // Inside quotes the indentation stands behind the marks, where it does no harm to most blocks.
        Some(column) if !has_quotes => {
            let spaces = line.len() - line.trim_start_matches(' ').len();
            spaces.min(column)
        }
        _ => 0,
    }
}

/// Where the list that is open at `at` goes on, and with which number.
fn next_number(list: &Span, at: usize, outline: &Outline) -> Option<(usize, u64)> {
    let Kind::Numbered { first } = list.kind else {
        return None;
    };
    let next = outline
        .numbers
        .iter()
        .find(|(start, item, _)| *start == list.range.start && *item >= at)?;
    (next.2 >= first).then_some((next.1, next.2))
}

/// Without empty lines at the beginning and white space at the end.
fn trim(text: &str) -> &str {
    trim_start(text.trim_end())
}

/// Without empty lines at the beginning; indentation of the first line may mean something.
fn trim_start(text: &str) -> &str {
    let blank = text.len() - text.trim_start().len();
    let start = text[..blank].rfind('\n').map_or(0, |end| end + 1);
    &text[start..]
}

/// With a code block closed that was left open, or what a sender adds at the end would be seen in it.
fn closed(text: String) -> String {
    let is_open = runs(&format!("{text}\n\nx"))
        .last()
        .is_some_and(|run| run.style.block.is_some());
    let fence = Outline::of(&text)
        .spans
        .into_iter()
        .rev()
        .find_map(|span| match span.kind {
            Kind::Fence { closing, .. } if is_open => Some(closing),
            _ => None,
        });
    match fence {
        Some(closing) => format!("{text}\n{closing}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
