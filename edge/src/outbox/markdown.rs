//! Markdown as a chat shows it: plain text in runs of one style each.
//!
//! Invariant: every character a reader of the markdown would see is in some run, in order; only whitespace is added
//! and dropped freely. Never fails, whatever the text.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// How a run is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) strike: bool,
    pub(super) code: bool,
    pub(super) quote: bool,
    /// Inside a code block, of this language (may be empty).
    pub(super) block: Option<String>,
    /// Inside a link to there.
    pub(super) link: Option<String>,
}

/// Text of one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) text: String,
    pub(super) style: Style,
}

/// The markdown that is understood: CommonMark with strike-through, tables and task lists, as on GitHub.
pub(crate) fn options() -> Options {
    Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS
}

/// The runs that show `markdown`.
pub(super) fn runs(markdown: &str) -> Vec<Run> {
    let mut writer = Writer::default();
    let mut in_table = false;
    for (event, range) in Parser::new_ext(markdown, options()).into_offset_iter() {
        match (&event, in_table) {
            // Cells have no meaning without columns, so a table is shown as it was written, in a fixed-width font.
            (Event::Start(Tag::Table(_)), _) => in_table = true,
            (Event::End(TagEnd::Table), _) => {
                in_table = false;
                writer.block(String::new(), markdown[range].trim_end());
            }
            (_, true) => {}
            (_, false) => writer.event(event),
        }
    }
    writer.runs
}

#[derive(Default)]
struct Writer {
    runs: Vec<Run>,
    style: Style,
    bold: u32,
    italic: u32,
    strike: u32,
    quotes: u32,
    /// The open links and images, each with what is to be said after its text.
    links: Vec<(String, String)>,
    /// The open lists: the next number, if they have numbers.
    lists: Vec<Option<u64>>,
    /// The language and text of the open code block.
    code: Option<(String, String)>,
    /// Line breaks due before the next text.
    breaks: usize,
    /// A marker was just written: the item's first paragraph follows on the same line.
    after_marker: bool,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(end) => self.end(end),
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => self.say(&text),
            },
            Event::Code(code) => {
                let is_linked = self.style.link.is_some();
                let style = Style {
                    code: !is_linked,
                    quote: self.style.quote,
                    link: self.style.link.clone(),
                    ..Style::default()
                };
                self.say_as(&code, style);
            }
            Event::Html(html) | Event::InlineHtml(html) => match html.trim() {
                "<br>" | "<br/>" | "<br />" => self.breaks = self.breaks.max(1),
                _ => {
                    self.say(html.trim_end_matches('\n'));
                    self.breaks = self.breaks.max(usize::from(html.ends_with('\n')));
                }
            },
            Event::SoftBreak | Event::HardBreak => self.breaks = self.breaks.max(1),
            Event::Rule => {
                self.open_block();
                self.say("———");
                self.breaks = 2;
            }
            Event::TaskListMarker(done) => self.say(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(name) => self.say(&format!("[^{name}]")),
            Event::InlineMath(math) | Event::DisplayMath(math) => self.say(&math),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.open_block(),
            Tag::Heading { .. } => {
                self.open_block();
                self.bold += 1;
            }
            Tag::BlockQuote(_) => {
                self.open_block();
                self.quotes += 1;
            }
            Tag::CodeBlock(kind) => {
                self.open_block();
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or_default(),
                    CodeBlockKind::Indented => "",
                };
                self.code = Some((language.to_owned(), String::new()));
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.open_block();
                }
                self.lists.push(first);
            }
            Tag::Item => self.start_item(),
            Tag::Emphasis => self.italic += 1,
            Tag::Strong => self.bold += 1,
            Tag::Strikethrough => self.strike += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let is_address = ["https://", "http://", "mailto:", "tg://"]
                    .iter()
                    .any(|scheme| dest_url.starts_with(scheme));
                // What can't be followed from a chat is at least told.
                let (link, after) = match is_address {
                    true => (dest_url.to_string(), String::new()),
                    false => (String::new(), format!(" ({dest_url})")),
                };
                self.links.push((link, after));
            }
            _ => {}
        }
        self.restyle();
    }

    fn end(&mut self, end: TagEnd) {
        match end {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.breaks = 2,
            TagEnd::Heading(_) => {
                self.bold = self.bold.saturating_sub(1);
                self.breaks = 2;
            }
            TagEnd::BlockQuote(_) => {
                self.quotes = self.quotes.saturating_sub(1);
                self.breaks = 2;
            }
            TagEnd::CodeBlock => {
                if let Some((language, code)) = self.code.take() {
                    self.block(language, code.trim_end_matches('\n'));
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.breaks = if self.lists.is_empty() { 2 } else { 1 };
            }
            TagEnd::Item => {
                self.after_marker = false;
                self.breaks = self.breaks.clamp(1, 2);
            }
            TagEnd::Emphasis => self.italic = self.italic.saturating_sub(1),
            TagEnd::Strong => self.bold = self.bold.saturating_sub(1),
            TagEnd::Strikethrough => self.strike = self.strike.saturating_sub(1),
            TagEnd::Link | TagEnd::Image => {
                if let Some((_, after)) = self.links.pop() {
                    self.restyle();
                    self.say(&after);
                }
            }
            _ => {}
        }
        self.restyle();
    }

    fn start_item(&mut self) {
        self.breaks = self.breaks.max(1);
        let depth = self.lists.len();
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            Some(None) | None => "• ".to_owned(),
        };
        self.restyle();
        self.say(&format!("{}{marker}", "  ".repeat(depth.saturating_sub(1))));
        self.after_marker = true;
    }

    fn open_block(&mut self) {
        if self.after_marker {
            self.after_marker = false;
        } else {
            self.breaks = self.breaks.max(1);
        }
    }

    /// A code block or a table.
    fn block(&mut self, language: String, text: &str) {
        self.breaks = self.breaks.max(1);
        let quote = self.quotes > 0;
        self.say_as(
            text,
            Style {
                block: Some(language),
                quote,
                ..Style::default()
            },
        );
        self.breaks = 2;
    }

    fn restyle(&mut self) {
        self.style = Style {
            bold: self.bold > 0,
            italic: self.italic > 0,
            strike: self.strike > 0,
            quote: self.quotes > 0,
            link: self
                .links
                .last()
                .map(|(link, _)| link.clone())
                .filter(|link| !link.is_empty()),
            ..Style::default()
        };
    }

    fn say(&mut self, text: &str) {
        self.say_as(text, self.style.clone());
    }

    fn say_as(&mut self, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        self.after_marker = false;
        if self.breaks > 0 && !self.runs.is_empty() {
            // The break between two paragraphs of a quote belongs to the quote.
            let quote = style.quote && self.runs.last().is_some_and(|run| run.style.quote);
            let breaks = "\n".repeat(self.breaks);
            self.append(
                &breaks,
                Style {
                    quote,
                    ..Style::default()
                },
            );
        }
        self.breaks = 0;
        self.append(text, style);
    }

    fn append(&mut self, text: &str, style: Style) {
        match self.runs.last_mut() {
            Some(run) if run.style == style => run.text.push_str(text),
            _ => self.runs.push(Run {
                text: text.to_owned(),
                style,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(markdown: &str) -> String {
        runs(markdown).iter().map(|run| run.text.as_str()).collect()
    }

    #[test]
    fn blocks_stand_apart_and_lists_keep_their_shape() {
        let markdown = "# Title\nOne\ntwo **b\\*old** ~~gone~~\n\n- a\n  - b\n- [x] c\n\n3. x\n4. y\n\n> q1\n>\n> q2\n\n---\n\
                        ```rust\nfn x() {}\n\n```\n[rel](docs/a.md) ![pic](https://e.x/p)";
        assert_eq!(
            text(markdown),
            "Title\n\nOne\ntwo b*old gone\n\n• a\n  • b\n• ☑ c\n\n3. x\n4. y\n\nq1\n\nq2\n\n———\n\n\
             fn x() {}\n\nrel (docs/a.md) pic"
        );
    }

    #[test]
    fn tables_and_html_are_shown_as_written() {
        let markdown = "| a | b |\n|---|---|\n| 1 | *2* |\n\n<b>x</b> y<br>z";
        assert_eq!(
            text(markdown),
            "| a | b |\n|---|---|\n| 1 | *2* |\n\n<b>x</b> y\nz"
        );
        assert_eq!(runs(markdown)[0].style.block, Some(String::new()));
    }

    proptest! {
        #[test]
        fn letters_survive(markdown in "[a-z*_`~>\\-# \\n\\[\\]()|!0-9.]{0,200}") {
            let shown = text(&markdown);
            // Addresses of links and the info of code blocks may vanish from sight; nothing else made of letters may.
            if !markdown.contains("](") && !markdown.contains("```") && !markdown.contains("~~~") && !markdown.contains("]:") {
                let letters = |text: &str| text.chars().filter(char::is_ascii_lowercase).collect::<String>();
                prop_assert_eq!(letters(&markdown), letters(&shown));
            }
        }
    }
}
