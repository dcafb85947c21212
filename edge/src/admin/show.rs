//! The small parts that pages share: moments, states, long texts, pages of lists.

use maud::{Markup, html};
use roost_shared::{UnixMillis, run::Waits};

use super::text;
use crate::api::{effects::EffectView, runs::ConversationRef};

/// Lines and characters a text may have before it is folded.
const FOLD_LINES: usize = 14;
const FOLD_CHARACTERS: usize = 1_600;
/// Lines of a folded text that are shown: how it begins, and how it ends, where commands say what came of them.
const PREVIEW_HEAD: usize = 3;
const PREVIEW_TAIL: usize = 7;
/// Characters of such a line.
const PREVIEW_WIDTH: usize = 160;
/// Bytes of one text that a page shows.
const SHOWN: usize = 200_000;

/// How long ago, with the moment itself as its title.
pub(super) fn ago(now: UnixMillis, then: UnixMillis) -> Markup {
    html! { time datetime=(machine(then)) title=(text::moment(then)) data-ago=(then.0) { (text::ago(now, then)) } }
}

/// A moment to come.
pub(super) fn moment(at: UnixMillis) -> Markup {
    html! { time datetime=(machine(at)) { (text::moment(at)) } }
}

fn machine(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| String::new(), |at| at.to_string())
}

/// A state, by word and colour.
pub(super) fn state(name: &str) -> Markup {
    html! { span class={ "state " (name) } { (name) } }
}

/// What a waiting run waits for.
pub(super) fn waits(waits: Option<Waits>) -> &'static str {
    match waits {
        Some(Waits::Asked) => "Waits for an answer",
        Some(Waits::Poisoned) => "Waits for somebody to look at it",
        Some(Waits::Paused) | None => "Paused",
    }
}

/// Text in a fixed-width face; folded when it is long.
pub(super) fn block(content: &str) -> Markup {
    let content = text::plain(content);
    let content = content.trim_end_matches('\n');
    let lines = content.lines().count();
    if lines <= FOLD_LINES && content.len() <= FOLD_CHARACTERS {
        return html! { pre dir="auto" { (content) } };
    }
    let size = text::bytes(u64::try_from(content.len()).unwrap_or(u64::MAX));
    html! {
        details.fold {
            summary {
                pre.preview dir="auto" { (preview(content, lines)) }
                span.more { "Show all: " (lines) " lines, " (size) }
                span.less { "Show less" }
            }
            (whole(content))
        }
    }
}

/// Text as it was written, with its line breaks; what stands between fences is code.
pub(super) fn prose(content: &str) -> Markup {
    let content = text::plain(content);
    let mut parts: Vec<(bool, String)> = vec![(false, String::new())];
    for line in content.trim().lines() {
        let is_code = parts.last().is_some_and(|(is_code, _)| *is_code);
        if line.trim_start().starts_with("```") {
            parts.push((!is_code, String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    html! {
        @for (is_code, part) in &parts {
            @if part.trim().is_empty() {
            } @else if *is_code {
                (block(part))
            } @else {
                div.prose dir="auto" { (part.trim()) }
            }
        }
    }
}

fn preview(content: &str, lines: usize) -> String {
    let short = |line: &str| match line.char_indices().nth(PREVIEW_WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    };
    if lines <= PREVIEW_HEAD + PREVIEW_TAIL {
        return content.lines().map(short).collect::<Vec<_>>().join("\n");
    }
    let head = content.lines().take(PREVIEW_HEAD).map(short);
    let gap = std::iter::once(format!("⋯ {} lines", lines - PREVIEW_HEAD - PREVIEW_TAIL));
    let tail = content.lines().skip(lines - PREVIEW_TAIL).map(short);
    head.chain(gap).chain(tail).collect::<Vec<_>>().join("\n")
}

fn whole(content: &str) -> Markup {
    let mut end = content.len().min(SHOWN);
    while !content.is_char_boundary(end) {
        end -= 1;
    }
    html! {
        pre dir="auto" { (&content[..end]) }
        @if end < content.len() {
            p.muted { "The rest is not shown here; the API has it whole." }
        }
    }
}

/// A conversation, as a link to its channel where there is one.
pub(super) fn conversation(conversation: &ConversationRef) -> Markup {
    let name = conversation_name(conversation);
    match conversation.url.as_deref().filter(|url| is_web(url)) {
        Some(url) => html! { a href=(url) rel="noreferrer noopener" target="_blank" { bdi { (name) } } },
        None => html! { bdi { (name) } },
    }
}

/// What a conversation is called.
pub(super) fn conversation_name(conversation: &ConversationRef) -> String {
    let name = if conversation.title.trim().is_empty() {
        &conversation.key
    } else {
        &conversation.title
    };
    text::line(name, 80)
}

/// Whether an address from outside may become a link.
pub(super) fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A channel as people write it.
pub(super) fn channel(name: &str) -> &str {
    match name {
        "github" => "GitHub",
        "telegram" => "Telegram",
        "generic" => "Webhook",
        other => other,
    }
}

/// What became of an effect, in words, with a link to where a person decides about it.
pub(super) fn effect(now: UnixMillis, effect: &EffectView) -> Markup {
    let link = html! { " " a href={ "/admin/effects/" (effect.id) } { "Look at it" } };
    let bad = matches!(effect.state.as_str(), "failed" | "unknown");
    html! { p.line { (words(now, effect)) @if bad { (link) } } }
}

/// The same on its own page.
pub(super) fn outcome(now: UnixMillis, effect: &EffectView) -> Markup {
    html! { p.line { (words(now, effect)) } }
}

fn words(now: UnixMillis, effect: &EffectView) -> Markup {
    html! {
            (state(&effect.state))
            " "
            @match effect.state.as_str() {
                "sent" => {
                    (ago(now, effect.updated_at))
                    @if let Some(id) = &effect.external_id { ", known there as " code { (id) } }
                    "."
                }
                "pending" if effect.attempts == 0 => "It will be sent in a moment.",
                "pending" => {
                    "Tried " (text::count(effect.attempts, "time")) "; "
                    @if let Some(due) = effect.due_at { "again at " (moment(due)) "." }
                }
                "sending" => "It is being sent.",
                "unknown" if effect.waits_for_person => "Nobody knows whether it arrived.",
                "unknown" => "Nobody knows yet whether it arrived: it is looked for in the channel.",
                _ => "It could not be sent.",
            }
            @if let Some(reason) = &effect.reason { " " span.why { (super::layout::sentence(reason)) } }
            @if let Some(code) = &effect.code { " " code.muted { (code) } }
    }
}

/// What was wrong with what was sent.
pub(super) fn alert(message: Option<&str>) -> Markup {
    html! {
        @if let Some(message) = message {
            p.alert role="alert" { (super::layout::sentence(message)) }
        }
    }
}

/// A line that says that something was done.
pub(super) fn done(what: Option<&str>) -> Markup {
    html! { @if let Some(what) = what { p.done role="status" { (what) } } }
}

/// A text with a button that copies it.
pub(super) fn copyable(id: &str, content: &str) -> Markup {
    html! {
        span.copyable {
            code #(id) { (content) }
            button type="button" data-copy=(id) { "Copy" }
        }
    }
}
