//! An agent's words, whose markdown is shown as what it means: bold, lists, code, tables, links.
//!
//! Invariants: what comes out is well nested and made of the elements below, whatever goes in; no HTML that was written passes,
//! and only addresses of the web and of mail become links.

use std::borrow::Cow;

use maud::{Markup, PreEscaped, Render, html};
use pulldown_cmark::{CowStr, Event, Parser, Tag};

use super::{show::block, text};
use crate::outbox::markdown::options;

/// Elements within each other; what is deeper stands as text in the last.
const DEEPEST: usize = 24;
/// Bytes of one text that are read as markdown.
const READ: usize = 200_000;

/// What the markdown means.
pub(super) fn markdown(content: &str) -> Markup {
    let content = text::plain(content);
    let (read, rest) = content.split_at(content.floor_char_boundary(READ));
    let mut page = Page::default();
    for event in Parser::new_ext(read, options()) {
        page.event(event);
    }
    html! {
        div.markdown { (PreEscaped(page.html)) }
        @if !rest.is_empty() { p.muted { "The rest is not shown here; the API has it whole." } }
    }
}

#[derive(Default)]
struct Page {
    html: String,
    /// What closes each open tag, in order; nothing for one that made no element.
    open: Vec<Cow<'static, str>>,
    /// The text of the open code block.
    code: Option<String>,
    /// Open elements that lead somewhere: none begins within another.
    links: usize,
    /// Whether the cells at hand are the table's head.
    in_head: bool,
}

impl Page {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(_) => self.end(),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.say(&text),
            },
            Event::Code(code) => {
                self.html.push_str("<code>");
                self.say(&code);
                self.html.push_str("</code>");
            }
            Event::Html(html) | Event::InlineHtml(html) => match html.trim() {
                "<br>" | "<br/>" | "<br />" => self.html.push_str("<br>"),
                _ => self.say(&html),
            },
            // As the channels show it: whoever ends a line means it.
            Event::SoftBreak | Event::HardBreak => self.html.push_str("<br>"),
            Event::Rule => self.html.push_str("<hr>"),
            Event::TaskListMarker(done) => self.say(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(name) => self.say(&format!("[^{name}]")),
            Event::InlineMath(math) | Event::DisplayMath(math) => self.say(&math),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        if self.open.len() >= DEEPEST {
            if let Tag::CodeBlock(_) = tag {
                self.code = Some(String::new());
            }
            return self.open.push(Cow::Borrowed(""));
        }
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.element("<p dir=\"auto\">", "</p>"),
            // The page has headings of its own above.
            Tag::Heading { .. } => self.element("<p class=\"heading\" dir=\"auto\">", "</p>"),
            Tag::BlockQuote(_) => self.element("<blockquote>", "</blockquote>"),
            Tag::CodeBlock(_) => {
                self.code = Some(String::new());
                self.element("", "");
            }
            Tag::List(None) => self.element("<ul>", "</ul>"),
            Tag::List(Some(first)) => self.element(&format!("<ol start=\"{first}\">"), "</ol>"),
            Tag::Item => self.element("<li dir=\"auto\">", "</li>"),
            Tag::Emphasis => self.element("<em>", "</em>"),
            Tag::Strong => self.element("<strong>", "</strong>"),
            Tag::Strikethrough => self.element("<del>", "</del>"),
            Tag::Table(_) => self.element("<div class=\"table\"><table>", "</table></div>"),
            Tag::TableHead => {
                self.in_head = true;
                self.element("<tr>", "</tr>");
            }
            Tag::TableRow => {
                self.in_head = false;
                self.element("<tr>", "</tr>");
            }
            Tag::TableCell if self.in_head => self.element("<th dir=\"auto\">", "</th>"),
            Tag::TableCell => self.element("<td dir=\"auto\">", "</td>"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.link(&dest_url),
            _ => self.element("", ""),
        }
    }

    fn end(&mut self) {
        if let Some(code) = self.code.take() {
            self.html.push_str(&block(&code).into_string());
        }
        if let Some(close) = self.open.pop() {
            self.links -= usize::from(close.starts_with("</a>"));
            self.html.push_str(&close);
        }
    }

    /// A link, or an image: the page loads nothing from elsewhere, so it is led to. An address that nothing may lead to is told.
    fn link(&mut self, to: &CowStr<'_>) {
        if self.links > 0 {
            return self.element("", "");
        }
        if !leads_out(to) {
            let told = html! { " (" (to.as_ref()) ")" };
            return self.open.push(Cow::Owned(told.into_string()));
        }
        self.links += 1;
        self.html.push_str("<a href=\"");
        self.say(to);
        self.element(
            "\" rel=\"noreferrer noopener nofollow\" target=\"_blank\">",
            "</a>",
        );
    }

    fn element(&mut self, open: &str, close: &'static str) {
        self.html.push_str(open);
        self.open.push(Cow::Borrowed(close));
    }

    /// Text, with what HTML would read otherwise escaped; good for attributes, too.
    fn say(&mut self, text: &str) {
        text.render_to(&mut self.html);
    }
}

fn leads_out(to: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| {
        to.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(content: &str) -> String {
        let html = markdown(content).into_string();
        html.strip_prefix("<div class=\"markdown\">")
            .and_then(|html| html.strip_suffix("</div>"))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn what_was_meant_is_shown() {
        assert_eq!(
            shown(
                "# Done\n**two** of `3`\nare *fine*:\n\n2. one\n3. [log](https://e.x/?a=1&b=2)\n\n- [x] ~~old~~"
            ),
            "<p class=\"heading\" dir=\"auto\">Done</p><p dir=\"auto\"><strong>two</strong> of <code>3</code><br>are \
             <em>fine</em>:</p><ol start=\"2\"><li dir=\"auto\">one</li><li dir=\"auto\">\
             <a href=\"https://e.x/?a=1&amp;b=2\" rel=\"noreferrer noopener nofollow\" target=\"_blank\">log</a></li></ol>\
             <ul><li dir=\"auto\">☑ <del>old</del></li></ul>"
        );
        assert_eq!(
            shown("|a|\n|-|\n|<i>|\n\n```sh\nls <x>\n```"),
            "<div class=\"table\"><table><tr><th dir=\"auto\">a</th></tr><tr><td dir=\"auto\">&lt;i&gt;</td></tr></table></div>\
             <pre dir=\"auto\">ls &lt;x&gt;</pre>"
        );
    }

    #[test]
    fn what_is_dangerous_is_told_and_leads_nowhere() {
        for (written, read) in [
            ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
            (
                "a <img src=x onerror=y>",
                "<p dir=\"auto\">a &lt;img src=x onerror=y&gt;</p>",
            ),
            ("[x](javascript:y)", "<p dir=\"auto\">x (javascript:y)</p>"),
            (
                "[x](<JavaScript:y\"z>)",
                "<p dir=\"auto\">x (JavaScript:y&quot;z)</p>",
            ),
            ("[x](/admin/logout)", "<p dir=\"auto\">x (/admin/logout)</p>"),
            (
                "![x](data:text/html,y)",
                "<p dir=\"auto\">x (data:text/html,y)</p>",
            ),
        ] {
            let html = shown(written);
            assert!(html.contains(read), "{html}");
            assert!(!html.contains("<a"), "{html}");
        }
        let html = shown("[x](https://e.x/\"onclick=\"y)");
        assert!(
            html.contains("href=\"https://e.x/&quot;onclick=&quot;y\""),
            "{html}"
        );
    }

    /// The elements of a page, each with whether it opens; nothing if one is unknown or has an attribute it may not have.
    fn tags(html: &str) -> Option<Vec<(String, bool)>> {
        let mut tags = Vec::new();
        for part in html.split('<').skip(1) {
            let tag = part.split('>').next()?;
            let name = tag.trim_start_matches('/').split(' ').next()?;
            let known = "p strong em del code pre br hr ul ol li blockquote div table tr th td a details summary span";
            if !known.split(' ').any(|known| known == name) {
                return None;
            }
            let attributes = tag
                .split("=\"")
                .map(|part| part.rsplit(['"', ' ']).next().unwrap_or_default());
            let count = tag.matches("=\"").count();
            let allowed = ["dir", "class", "start", "href", "rel", "target"];
            if attributes.take(count).any(|name| !allowed.contains(&name)) {
                return None;
            }
            if !matches!(name, "br" | "hr") {
                tags.push((name.to_owned(), !tag.starts_with('/')));
            }
        }
        Some(tags)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_comes_out_well_nested_and_of_known_elements(
            content in "([a-c*_`~>#|!<\\[\\](){}&\"'=/: \n-]|https://|javascript:|<script>|</p>|<a href=|1\\. |    |\\|-\\|){0,60}",
        ) {
            let html = markdown(&content).into_string();
            let tags = tags(&html);
            prop_assert!(tags.is_some(), "{}", html);
            let mut open: Vec<String> = Vec::new();
            for (name, opens) in tags.unwrap_or_default() {
                match opens {
                    true => open.push(name),
                    false => prop_assert_eq!(open.pop(), Some(name), "{}", html),
                }
            }
            prop_assert!(open.is_empty(), "{}", html);
        }

        #[test]
        fn nothing_is_nested_without_end(deep in 1_usize..3_000, mark in prop::sample::select(vec![">", "- ", "*a ", "[", "1. "])) {
            let html = markdown(&format!("{}x", mark.repeat(deep))).into_string();
            prop_assert!(html.matches("<blockquote>").count().max(html.matches("<li").count()) <= DEEPEST, "{}", html.len());
        }
    }
}
