//! What each event of a journal says to people.

use maud::{Markup, html};
use roost_shared::{
    event::{Change, EventBody},
    transcript::{Answer, Block, StopReason, Usage},
    work::{Trust, WorkItem},
};

use super::super::{
    layout::sentence,
    markdown::markdown,
    show::{self, prose},
    text,
};

/// An event in words; nothing for those that the fold shows in its own way.
pub(super) fn told(agent: &str, body: &EventBody) -> Markup {
    match body {
        EventBody::Opened { work_item, .. } => opened(work_item),
        EventBody::SpriteClaimed { sprite } => html! {
            p.line { "Gets the sprite " code { (sprite) } " for itself, until it ends." }
        },
        EventBody::SessionOpened { purpose, sprite, .. } => html! {
            p.line { "Opened a " code { (purpose) } " session in the sprite " code { (sprite) } "." }
        },
        EventBody::ModelFailed {
            code,
            message,
            retry_in_ms,
            usage,
            cost,
        } => html! {
            p.line {
                strong { "The model did not answer." } " " (sentence(message)) " "
                @if let Some(retry) = retry_in_ms { "It is asked again in " (text::millis(*retry)) ". " }
                code.muted { (code) }
                @if *usage != Usage::default() {
                    span.muted { " It had used " (spent(*usage)) ", " (text::money(*cost)) "." }
                }
            }
        },
        EventBody::Compacted { summary, usage, cost } => html! {
            p.line {
                "Its window was filling: all before this was replaced by a summary. "
                span.muted { (spent(*usage)) ", " (text::money(*cost)) }
            }
            details { summary { "The summary, by " bdi { (agent) } } (markdown(summary)) }
        },
        EventBody::Parked { until, reason } => html! {
            p.line { "Sleeps until " (show::moment(*until)) ". " (sentence(reason)) }
        },
        EventBody::Steered {
            change, work_item, ..
        } => steered(*change, work_item),
        EventBody::Answered { decision, .. } => html! {
            p.line {
                strong { bdi { (decision.by) } } " answered: "
                @match decision.choice { Some(choice) => { (choice.meaning()) "." } None => "in their own words." }
            }
            @if !decision.text.trim().is_empty() { (prose(&decision.text)) }
        },
        EventBody::Paused { by, until } => html! {
            p.line { "Paused by " bdi { (by) } ". It is cancelled if nobody resumes it until " (show::moment(*until)) "." }
        },
        EventBody::Asked { question, until } => html! {
            p.line { strong { bdi { (agent) } } " asks" }
            (prose(&question.text))
            p.line.muted { "It is cancelled if nobody answers until " (show::moment(*until)) "." }
        },
        EventBody::Poisoned { crashes, until } => html! {
            p.line {
                strong { "It is kept from runners." } " " (crashes)
                " of them in a row ended with it without a word. Look at what it did last, then resume or cancel it; it is \
                 cancelled if nobody resumes it until " (show::moment(*until)) "."
            }
        },
        EventBody::Resumed { by } => html! { p.line { bdi { (by) } " let it go on." } },
        EventBody::Released { reason } => {
            html! { p.line { "The runner gave it back. " (sentence(reason)) } }
        }
        EventBody::Completed { reply } => html! {
            @match reply.as_deref().filter(|reply| !reply.trim().is_empty()) {
                Some(reply) => { p.line { strong { bdi { (agent) } } " replied" } (markdown(reply)) }
                None => p.line { strong { "Done." } " There was nothing to say." }
            }
        },
        EventBody::Failed { code, message } => html! {
            p.line { strong { "It could not go on." } " " (sentence(message)) " " code.muted { (code) } }
        },
        EventBody::Cancelled { by, reason } => html! {
            p.line {
                "Stopped by " bdi { (by) } "."
                @if let Some(reason) = reason { " " (sentence(reason)) }
            }
        },
        EventBody::Leased { .. }
        | EventBody::ModelAnswered(_)
        | EventBody::ToolStarted { .. }
        | EventBody::ToolFinished { .. } => html! {},
    }
}

/// The look of an event.
pub(super) fn class(body: &EventBody) -> &'static str {
    match body {
        EventBody::Opened { .. } | EventBody::Steered { .. } | EventBody::Answered { .. } => "said",
        EventBody::ModelFailed { .. } | EventBody::Failed { .. } | EventBody::Poisoned { .. } => "wrong",
        EventBody::Asked { .. } => "asks",
        EventBody::Completed { .. } => "end",
        _ => "step",
    }
}

/// Who took the run.
pub(super) fn leased(epoch: u64, runner: &str) -> Markup {
    html! {
        p.line {
            "Runner " bdi { (runner) }
            @if epoch > 1 { " took it over (lease " (epoch) ")." } @else { " took it." }
        }
    }
}

/// Who, and how far the channel vouches for them.
fn speaker(item: &WorkItem) -> Markup {
    html! {
        strong { bdi { (item.actor.name) } } " "
        @match item.actor.trust {
            Trust::Member => span.trust { "member" },
            Trust::Outsider => span.trust.outsider { "outsider" },
        }
    }
}

/// What was said to a run at work.
fn steered(change: Change, item: &WorkItem) -> Markup {
    html! {
        p.line {
            (speaker(item)) " " span.muted { (item.kind) }
            @match change {
                Change::Said => " added",
                Change::Edited => " changed a message; it reads now",
                Change::Deleted => " wrote this, and it was deleted",
            }
        }
        (prose(&item.text))
    }
}

fn opened(item: &WorkItem) -> Markup {
    html! {
        p.line { (speaker(item)) " " span.muted { (item.kind) } }
        (prose(&item.text))
        @if !item.context.is_empty() {
            details {
                summary { "What it was said about" }
                @for quote in &item.context {
                    p.line {
                        span.muted { (quote.label) }
                        @if let Some(by) = &quote.by { " by " bdi { (by.name) } }
                    }
                    blockquote { (prose(&quote.text)) }
                }
            }
        }
    }
}

/// A turn of the model.
pub(super) fn answered(number: u64, answer: &Answer) -> Markup {
    html! {
        p.line {
            strong { "Turn " (number) } " "
            span.muted {
                bdi { (answer.model) } " · " (spent(answer.usage)) " · " (text::money(answer.cost)) " · "
                (text::millis(answer.took_ms)) " (first byte " (text::millis(answer.first_byte_ms)) ")"
            }
        }
        @for block in &answer.blocks {
            @match block {
                Block::Thinking { text, .. } if !text.trim().is_empty() => {
                    details.thinking { summary { "Thinking" } (prose(text)) }
                }
                Block::Thinking { .. } | Block::RedactedThinking { .. } => {
                    p.muted { "It thought; the provider keeps what." }
                }
                Block::Text { text } if !text.trim().is_empty() => (markdown(text)),
                Block::Text { .. } | Block::ToolCall(_) | Block::ToolResult(_) => {}
            }
        }
        @if let Some(note) = stopped(answer.stop) { p.muted { (note) } }
    }
}

fn stopped(stop: StopReason) -> Option<&'static str> {
    match stop {
        StopReason::EndTurn | StopReason::ToolUse | StopReason::StopSequence => None,
        StopReason::MaxTokens => Some("The answer reached its length limit and was cut."),
        StopReason::PauseTurn => Some("The model paused and wants to go on."),
        StopReason::Refusal => Some("The model declined."),
        StopReason::ContextExceeded => Some("The conversation no longer fits the model's window."),
    }
}

fn spent(usage: Usage) -> String {
    let read = text::number(usage.context());
    let written = text::number(usage.output);
    match usage.cache_read {
        0 => format!("{read} tokens read, {written} written"),
        cached => format!(
            "{read} tokens read ({} cached), {written} written",
            text::number(cached)
        ),
    }
}
