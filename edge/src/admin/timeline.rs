//! A run's journal as people read it: a fold that turns each event into entries of a timeline.
//!
//! Invariant: an entry's id depends on the journal alone. So an entry that is rendered again (a tool call that has been
//! answered) takes the place of the one before, and a stream that is replayed shows nothing twice.

use maud::{Markup, PreEscaped, html};
use roost_shared::{
    MicroUsd, UnixMillis,
    event::{Event, EventBody},
    run::Phase,
    transcript::{Answer, Block, StopReason, ToolCall, ToolResult, Usage},
    work::{Trust, WorkItem},
};

use super::{
    call::{self, Progress},
    layout::sentence,
    show, text,
};

/// An entry of the timeline.
pub(super) struct Entry {
    /// Its element's id.
    pub(super) id: String,
    /// The whole element.
    pub(super) html: String,
}

/// The fold.
pub(super) struct Timeline {
    agent: String,
    phase: Phase,
    opened_at: UnixMillis,
    last_at: UnixMillis,
    next_seq: u64,
    turns: u64,
    usage: Usage,
    cost: MicroUsd,
    until: Option<UnixMillis>,
    runner: Option<String>,
    open: Vec<OpenCall>,
    last: Option<Turn>,
}

struct Turn {
    entry: String,
    at: UnixMillis,
    number: u64,
    answer: Answer,
}

struct OpenCall {
    entry: String,
    at: UnixMillis,
    call: ToolCall,
    started: Option<UnixMillis>,
}

impl Timeline {
    /// The fold of no event, for a run of the agent of that name.
    pub(super) fn new(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            phase: Phase::Queued,
            opened_at: UnixMillis::default(),
            last_at: UnixMillis::default(),
            next_seq: 0,
            turns: 0,
            usage: Usage::default(),
            cost: MicroUsd::default(),
            until: None,
            runner: None,
            open: Vec::new(),
            last: None,
        }
    }

    /// The seq of the event that has not been folded yet.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether no event can follow.
    pub(super) fn is_over(&self) -> bool {
        self.phase.is_terminal()
    }

    /// Takes an event; gives the entries that are new or have changed.
    pub(super) fn push(&mut self, event: &Event) -> Vec<Entry> {
        if event.seq == 0 {
            self.opened_at = event.at;
        }
        self.next_seq = event.seq + 1;
        self.last_at = event.at;
        self.phase = self.phase.after(&event.body).unwrap_or(self.phase);
        self.usage = self.usage + event.body.usage();
        self.cost = self.cost + event.body.cost();
        let id = format!("e{}", event.seq);
        let mut entries = Vec::new();
        if ends_calls(&event.body) {
            entries.extend(self.tear());
        }
        match &event.body {
            EventBody::ModelAnswered(answer) => {
                self.turns += 1;
                let turn = Turn {
                    entry: id.clone(),
                    at: event.at,
                    number: self.turns,
                    answer: answer.clone(),
                };
                entries.push(self.turn(&turn));
                self.last = Some(turn);
                for (number, call) in (0..).zip(answer.tool_calls()) {
                    let open = OpenCall {
                        entry: format!("{id}-{number}"),
                        at: event.at,
                        call: call.clone(),
                        started: None,
                    };
                    entries.push(self.call(&open, &Progress::Asked));
                    self.open.push(open);
                }
            }
            EventBody::ToolStarted { call, .. } => entries.extend(self.started(call, event.at)),
            EventBody::ToolFinished { result, took_ms } => {
                entries.push(self.finished(&id, event.at, result, *took_ms));
            }
            EventBody::Leased { runner } => {
                self.runner = Some(runner.clone());
                entries.push(self.entry(&id, event.at, "step", &leased(event.epoch, runner)));
            }
            EventBody::Parked { until, .. } => {
                self.until = Some(*until);
                entries.push(self.entry(&id, event.at, "step", &self.told(&event.body)));
            }
            EventBody::Completed { reply: Some(reply) } => {
                entries.extend(self.silenced(reply));
                entries.push(self.entry(&id, event.at, "end", &self.told(&event.body)));
            }
            body => entries.push(self.entry(&id, event.at, class(body), &self.told(body))),
        }
        entries
    }

    /// The last turn without its text, where that is the reply, which is shown right after it.
    fn silenced(&mut self, reply: &str) -> Option<Entry> {
        let mut turn = self.last.take().filter(|turn| turn.answer.text() == reply)?;
        turn.answer
            .blocks
            .retain(|block| !matches!(block, Block::Text { .. }));
        Some(self.turn(&turn))
    }

    fn turn(&self, turn: &Turn) -> Entry {
        self.entry(&turn.entry, turn.at, "turn", &answered(turn.number, &turn.answer))
    }

    /// What the run has used up and what it is doing.
    pub(super) fn summary(&self) -> Markup {
        let usage = self.usage;
        let took = self.last_at.since(self.opened_at);
        html! {
            div #summary.summary aria-live="polite" {
                p.now { (show::state(self.phase.as_str())) " " span { (self.now()) } }
                dl.figures {
                    div { dt { "Turns" } dd { (text::number(self.turns)) } }
                    div { dt { "Cost" } dd title=(self.cost) { (text::money(self.cost)) } }
                    div {
                        dt { "Tokens" }
                        dd title={ (text::number(usage.cache_read)) " of those read came from the cache" } {
                            (text::number(usage.context())) " read, " (text::number(usage.output)) " written"
                        }
                    }
                    div { dt { "Time" } dd { (text::span(took)) } }
                }
            }
        }
    }

    fn now(&self) -> Markup {
        html! {
            @match self.phase {
                Phase::Queued => "Waits for a runner.",
                Phase::Running => {
                    @match self.open.iter().find(|open| open.started.is_some()) {
                        Some(open) => { "Running " code { (open.call.name) } "." }
                        None => { bdi { (self.agent) } " is thinking." }
                    }
                    @if let Some(runner) = &self.runner { span.muted { " On runner " bdi { (runner) } "." } }
                }
                Phase::Parked => { "Sleeps" @if let Some(until) = self.until { " until " (show::moment(until)) } "." }
                Phase::Completed => "The work is done.",
                Phase::Failed => "It could not go on.",
                Phase::Cancelled => "It was stopped.",
            }
        }
    }

    fn started(&mut self, call: &str, at: UnixMillis) -> Option<Entry> {
        let open = self.open.iter_mut().find(|open| open.call.id == call)?;
        open.started = Some(at);
        let open = self.open.iter().find(|open| open.call.id == call)?;
        Some(self.call(open, &Progress::Started))
    }

    fn finished(&mut self, id: &str, at: UnixMillis, result: &ToolResult, took_ms: u64) -> Entry {
        let place = self.open.iter().position(|open| open.call.id == result.call);
        let open = match place {
            Some(place) => self.open.remove(place),
            // Answered a second time; the journal holds it, so it is shown.
            None => OpenCall {
                entry: id.to_owned(),
                at,
                call: ToolCall {
                    id: result.call.clone(),
                    name: "tool".to_owned(),
                    input: serde_json::Value::Object(serde_json::Map::new()),
                },
                started: None,
            },
        };
        self.call(&open, &Progress::Finished(result, took_ms))
    }

    fn tear(&mut self) -> Vec<Entry> {
        let open = std::mem::take(&mut self.open);
        open.iter().map(|open| self.call(open, &Progress::Torn)).collect()
    }

    fn call(&self, open: &OpenCall, progress: &Progress<'_>) -> Entry {
        self.entry(&open.entry, open.at, "call", &call::show(&open.call, progress))
    }

    fn entry(&self, id: &str, at: UnixMillis, class: &str, body: &Markup) -> Entry {
        let since = text::span(at.since(self.opened_at));
        let markup = html! {
            li #(id) class=(class) {
                span.at title=(text::moment(at)) { (since) }
                div.body { (body) }
            }
        };
        Entry {
            id: id.to_owned(),
            html: markup.into_string(),
        }
    }

    fn told(&self, body: &EventBody) -> Markup {
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
                details { summary { "The summary, by " bdi { (self.agent) } } (prose(summary)) }
            },
            EventBody::Parked { until, reason } => html! {
                p.line { "Sleeps until " (show::moment(*until)) ". " (sentence(reason)) }
            },
            EventBody::Released { reason } => {
                html! { p.line { "The runner gave it back. " (sentence(reason)) } }
            }
            EventBody::Completed { reply } => html! {
                @match reply.as_deref().filter(|reply| !reply.trim().is_empty()) {
                    Some(reply) => { p.line { strong { bdi { (self.agent) } } " replied" } (prose(reply)) }
                    None => p.line { strong { "Done." } " There was nothing to say." }
                }
            },
            EventBody::Failed { code, message } => html! {
                p.line { strong { "It could not go on." } " " (sentence(message)) " " code.muted { (code) } }
            },
            EventBody::Cancelled { by } => html! { p.line { "Stopped by " bdi { (by) } "." } },
            EventBody::Leased { .. }
            | EventBody::ModelAnswered(_)
            | EventBody::ToolStarted { .. }
            | EventBody::ToolFinished { .. } => html! {},
        }
    }
}

/// Whether calls that are still open now will never be answered.
fn ends_calls(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::ModelAnswered(_)
            | EventBody::Compacted { .. }
            | EventBody::Completed { .. }
            | EventBody::Failed { .. }
            | EventBody::Cancelled { .. }
    )
}

fn class(body: &EventBody) -> &'static str {
    match body {
        EventBody::Opened { .. } => "said",
        EventBody::ModelFailed { .. } | EventBody::Failed { .. } => "wrong",
        EventBody::Completed { .. } => "end",
        _ => "step",
    }
}

fn leased(epoch: u64, runner: &str) -> Markup {
    html! {
        p.line {
            "Runner " bdi { (runner) }
            @if epoch > 1 { " took it over (lease " (epoch) ")." } @else { " took it." }
        }
    }
}

fn opened(item: &WorkItem) -> Markup {
    html! {
        p.line {
            strong { bdi { (item.actor.name) } } " "
            @match item.actor.trust {
                Trust::Member => span.trust { "member" },
                Trust::Outsider => span.trust.outsider { "outsider" },
            }
            " " span.muted { (item.kind) }
        }
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

fn answered(number: u64, answer: &Answer) -> Markup {
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
                Block::Text { text } if !text.trim().is_empty() => (prose(text)),
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

/// Text as it was written, with its line breaks.
fn prose(content: &str) -> Markup {
    html! { div.prose dir="auto" { (text::plain(content).trim()) } }
}

/// Entries in order, each where it first appeared, as it is now.
pub(super) fn assemble(entries: Vec<Entry>) -> Markup {
    let mut order: Vec<Entry> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for entry in entries {
        match places.get(&entry.id) {
            Some(&place) => order[place] = entry,
            None => {
                places.insert(entry.id.clone(), order.len());
                order.push(entry);
            }
        }
    }
    PreEscaped(order.into_iter().map(|entry| entry.html).collect())
}
