//! A run's journal as people read it: a fold that turns each event into entries of a timeline.
//!
//! Invariant: an entry's id depends on the journal alone. So an entry that is rendered again (a tool call that has been
//! answered) takes the place of the one before, and a stream that is replayed shows nothing twice.

mod words;

use maud::{Markup, PreEscaped, html};
use roost_shared::{
    MicroUsd, RunId, UnixMillis,
    event::{Event, EventBody},
    question::Question,
    run::{Phase, Waits},
    transcript::{Answer, Block, ToolCall, ToolResult, Usage},
};

use self::words::{answered, class, leased, told};
use super::{
    call::{self, Progress},
    control::Controls,
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
    waits: Option<Waits>,
    question: Option<Question>,
    failure: Option<String>,
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
            waits: None,
            question: None,
            failure: None,
            runner: None,
            open: Vec::new(),
            last: None,
        }
    }

    /// The seq of the event that has not been folded yet.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether no event follows by itself.
    pub(super) fn is_over(&self) -> bool {
        self.phase.is_terminal()
    }

    /// What can be done about the run.
    pub(super) fn controls(&self, run: RunId) -> Controls {
        Controls {
            run,
            phase: self.phase,
            waits: self.waits.filter(|_| self.phase == Phase::Waiting),
            question: self.question.clone().filter(|_| self.phase == Phase::Waiting),
            failure: self.failure.clone().filter(|_| self.phase == Phase::Failed),
            cancel_asked_by: None,
            pause_asked_by: None,
        }
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
            EventBody::Parked { until, .. }
            | EventBody::Paused { until, .. }
            | EventBody::Asked { until, .. }
            | EventBody::Poisoned { until, .. } => {
                self.waits = Waits::after(&event.body);
                if let EventBody::Asked { question, .. } = &event.body {
                    self.question = Some(question.clone());
                    let open = self.open.iter().find(|open| open.call.id == question.call);
                    entries.extend(open.map(|open| self.call(open, &Progress::Asked)));
                }
                self.until = Some(*until);
                entries.push(self.entry(&id, event.at, class(&event.body), &told(&self.agent, &event.body)));
            }
            EventBody::Completed { reply: Some(reply) } => {
                entries.extend(self.silenced(reply));
                entries.push(self.entry(&id, event.at, "end", &told(&self.agent, &event.body)));
            }
            body => {
                if let EventBody::Failed { code, .. } = body {
                    self.failure = Some(code.clone());
                }
                entries.push(self.entry(&id, event.at, class(body), &told(&self.agent, body)));
            }
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
                Phase::Waiting => {
                    (show::waits(self.waits))
                    @if let Some(until) = self.until { ", until " (show::moment(until)) } "."
                }
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
