//! Where markdown can be cut, and what is open there.
//!
//! Invariant: every cut lies on a character boundary of the text, after its beginning and before its end.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Parser, Tag};

use crate::outbox::markdown::options;

/// How well a text can be cut somewhere; the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seam {
    /// Before a block that is in no other.
    Paragraph,
    /// Before a line, a list's item, a block inside another.
    Line,
    /// Between two words.
    Word,
    /// Inside a word.
    Letter,
}

/// A stretch of the text that means something together.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A block quote whose content begins in this column.
    Quote { column: usize },
    /// A list's item whose content begins in this column.
    Item { column: usize },
    /// A list with numbers, beginning with this one.
    Numbered { first: u64 },
    /// A fenced code block with its opening and closing lines.
    Fence { opening: String, closing: String },
    /// A table; its head ends there.
    Table { head: usize },
    /// Emphasis, strong emphasis, strike-through or code, between these marks.
    Marked { mark: String },
    /// A link with what closes it.
    Link { closing: String },
}

/// Cuts and spans of a text.
pub(super) struct Outline {
    pub(super) spans: Vec<Span>,
    /// Cuts by seam, each list in order.
    cuts: [Vec<usize>; 4],
    /// The starts of the items of lists with numbers: the list's start, the item's start, the item's number.
    pub(super) numbers: Vec<(usize, usize, u64)>,
}

impl Outline {
    pub(super) fn of(text: &str) -> Self {
        let mut reader = Reader {
            text,
            outline: Self {
                spans: Vec::new(),
                cuts: Default::default(),
                numbers: Vec::new(),
            },
            depth: 0,
            lists: Vec::new(),
            code: None,
            closed: 0,
            after_heading: false,
        };
        for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
            reader.read(event, range);
        }
        let mut outline = reader.outline;
        for cuts in &mut outline.cuts {
            cuts.retain(|cut| *cut > 0 && *cut < text.len() && text.is_char_boundary(*cut));
            cuts.sort_unstable();
            cuts.dedup();
        }
        outline
    }

    /// The cuts of a seam, in order.
    pub(super) fn cuts(&self, seam: Seam) -> &[usize] {
        &self.cuts[seam as usize]
    }

    /// All cuts, in order.
    pub(super) fn all_cuts(&self) -> Vec<usize> {
        let mut all = self.cuts.concat();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What is open at `cut`, the outermost first.
    pub(super) fn open_at(&self, cut: usize) -> Vec<&Span> {
        self.spans
            .iter()
            .filter(|span| span.range.start < cut && cut < span.range.end)
            .collect()
    }
}

struct Reader<'a> {
    text: &'a str,
    outline: Outline,
    /// Open blocks.
    depth: usize,
    /// The open lists: start and next number.
    lists: Vec<(usize, Option<u64>)>,
    /// The code block the texts belong to, and whether one of them was already there.
    code: Option<bool>,
    /// Inside something that can't be cut, until there.
    closed: usize,
    /// The block before was a heading: it should not be left alone.
    after_heading: bool,
}

impl Reader<'_> {
    fn read(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(end) => {
                if is_block(end) {
                    self.depth = self.depth.saturating_sub(1);
                }
                match end {
                    pulldown_cmark::TagEnd::List(_) => drop(self.lists.pop()),
                    pulldown_cmark::TagEnd::CodeBlock => self.code = None,
                    pulldown_cmark::TagEnd::Heading(_) => self.after_heading = true,
                    _ => {}
                }
            }
            Event::Text(_) => self.text(range),
            Event::Code(_) => {
                let mark: String = self.text[range.clone()]
                    .chars()
                    .take_while(|c| *c == '`')
                    .collect();
                let inside = range.start + mark.len()..range.end.saturating_sub(mark.len());
                self.span(range, Kind::Marked { mark });
                self.words(inside);
            }
            Event::SoftBreak | Event::HardBreak if range.start >= self.closed => {
                self.cut(Seam::Line, self.next_content(range.end));
            }
            Event::Html(_) => self.cut(Seam::Line, range.start),
            Event::Rule => self.block(range.start),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        match &tag {
            Tag::Item => self.item(&range),
            Tag::List(first) => {
                self.block(range.start);
                self.lists.push((range.start, *first));
                if let Some(first) = *first {
                    self.span(range.clone(), Kind::Numbered { first });
                }
            }
            Tag::BlockQuote(_) => {
                self.block(range.start);
                let column = self.column(range.start) + 2;
                self.span(range.clone(), Kind::Quote { column });
            }
            Tag::CodeBlock(kind) => {
                self.block(range.start);
                self.code = Some(false);
                if let (CodeBlockKind::Fenced(info), Some(mark)) = (kind, fence(&self.text[range.clone()])) {
                    let opening = format!("{mark}{info}");
                    self.span(
                        range.clone(),
                        Kind::Fence {
                            opening,
                            closing: mark,
                        },
                    );
                }
            }
            Tag::Table(_) => self.block(range.start),
            Tag::TableRow => self.row(range.start),
            Tag::TableHead | Tag::TableCell => self.closed = self.closed.max(range.end),
            Tag::Emphasis | Tag::Strong | Tag::Strikethrough => {
                let first = self.text[range.clone()].chars().next().unwrap_or('*');
                let most = if matches!(tag, Tag::Emphasis) { 1 } else { 2 };
                let mark = self.text[range.clone()]
                    .chars()
                    .take(most)
                    .take_while(|c| *c == first)
                    .collect();
                self.span(range.clone(), Kind::Marked { mark });
            }
            Tag::Link {
                link_type: LinkType::Inline,
                dest_url,
                ..
            } => {
                let closing = format!("](<{}>)", dest_url.replace('<', "%3C").replace('>', "%3E"));
                self.span(range.clone(), Kind::Link { closing });
            }
            Tag::Link { .. } | Tag::Image { .. } => self.closed = self.closed.max(range.end),
            _ => self.block(range.start),
        }
        if is_block(tag.to_end()) {
            self.depth += 1;
        }
    }

    /// An item's content begins after its marker; where that is nothing, one column after it.
    fn item(&mut self, range: &Range<usize>) {
        self.cut(Seam::Line, range.start);
        let item = &self.text[range.clone()];
        let indent = item.len() - item.trim_start_matches(' ').len();
        let digits = item[indent..].bytes().take_while(u8::is_ascii_digit).count();
        let after = indent + digits + 1;
        let spaces = item
            .get(after..)
            .map_or(0, |rest| rest.len() - rest.trim_start_matches(' ').len());
        let column = self.column(range.start) + after + if (1..=4).contains(&spaces) { spaces } else { 1 };
        if let Some((list, Some(number))) = self.lists.last_mut() {
            self.outline.numbers.push((*list, range.start + indent, *number));
            *number = number.saturating_add(1);
        }
        self.span(range.clone(), Kind::Item { column });
    }

    fn row(&mut self, start: usize) {
        self.closed = self.closed.max(start);
        let is_table = |span: &&mut Span| span.range.start < start && start < span.range.end;
        let table = self.outline.spans.iter_mut().rev().find(is_table);
        if !matches!(
            table,
            Some(Span {
                kind: Kind::Table { .. },
                ..
            })
        ) {
            // The table's first row: now it is known where its head ends.
            let table = self.table_start(start);
            let end = self.table_end(start);
            self.span(table..end, Kind::Table { head: start });
        }
        self.cut(Seam::Line, start);
    }

    /// The head is the two lines before the first row.
    fn table_start(&self, first_row: usize) -> usize {
        let above = &self.text[..first_row];
        let mut lines = above
            .trim_end_matches(['>', ' '])
            .rmatch_indices('\n')
            .map(|(at, _)| at + 1);
        lines.nth(2).unwrap_or(0)
    }

    /// The table goes on to the next empty line or the end.
    fn table_end(&self, first_row: usize) -> usize {
        let below = &self.text[first_row..];
        let empty = below.match_indices('\n').find(|(at, _)| {
            let line = below[at + 1..].lines().next().unwrap_or_default();
            line.trim_matches(['>', ' ', '\r']).is_empty()
        });
        first_row + empty.map_or(below.len(), |(at, _)| at)
    }

    fn text(&mut self, range: Range<usize>) {
        if let Some(is_later) = &mut self.code {
            let was_later = std::mem::replace(is_later, true);
            if was_later {
                self.cut(Seam::Line, range.start);
            }
            let line_starts: Vec<_> = self.text[range.clone()]
                .match_indices('\n')
                .map(|(at, _)| range.start + at + 1)
                .collect();
            for start in line_starts.into_iter().filter(|start| *start < range.end) {
                self.cut(Seam::Line, start);
            }
            self.words(range);
        } else if range.start >= self.closed {
            self.words(range);
        }
    }

    /// After each space inside, and inside the words.
    fn words(&mut self, range: Range<usize>) {
        if range.start >= range.end {
            return;
        }
        let mut before: Option<char> = None;
        for (at, character) in self.text[range.clone()].char_indices() {
            let at = range.start + at;
            if let Some(before) = before {
                if before.is_whitespace() && !character.is_whitespace() {
                    self.cut(Seam::Word, at);
                }
                if !before.is_whitespace() && !joins(before, character) {
                    self.cut(Seam::Letter, at);
                }
            }
            before = Some(character);
        }
        if before.is_some_and(char::is_whitespace) {
            self.cut(Seam::Word, range.end);
        }
    }

    fn block(&mut self, start: usize) {
        let last = self.outline.spans.last();
        if let Some(Span {
            range,
            kind: Kind::Item { .. },
        }) = last
        {
            // Before an item's first block stands nothing but its marker.
            if range.contains(&start) && !self.text[range.start..start].contains('\n') {
                return;
            }
        }
        let after_heading = std::mem::take(&mut self.after_heading);
        let seam = match self.depth == 0 && !after_heading {
            true => Seam::Paragraph,
            false => Seam::Line,
        };
        self.cut(seam, start);
    }

    fn cut(&mut self, seam: Seam, at: usize) {
        self.outline.cuts[seam as usize].push(at);
    }

    fn span(&mut self, range: Range<usize>, kind: Kind) {
        self.outline.spans.push(Span { range, kind });
    }

    fn column(&self, at: usize) -> usize {
        at - self.text[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    /// The first character after `at` that is not the indentation or quote marks of its line.
    fn next_content(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        at + rest.len() - rest.trim_start_matches([' ', '>', '\n']).len()
    }
}

fn is_block(end: pulldown_cmark::TagEnd) -> bool {
    use pulldown_cmark::TagEnd::{Emphasis, Image, Link, Strikethrough, Strong};
    !matches!(end, Emphasis | Strong | Strikethrough | Link | Image)
}

/// The marks that open a code block: three or more back ticks or tildes.
fn fence(block: &str) -> Option<String> {
    let block = block.trim_start();
    let first = block.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    Some(block.chars().take_while(|c| *c == first).collect())
}

/// Whether two characters are seen as one: an accent, a variation, a part of a family emoji.
fn joins(before: char, after: char) -> bool {
    let is_attached = |c: char| matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{20e3}');
    before == '\u{200d}' || is_attached(after)
}
