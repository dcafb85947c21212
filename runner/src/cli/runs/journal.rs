//! A run's journal in lines for people.

use std::collections::HashMap;

use roost_shared::{
    UnixMillis,
    effect::EffectClass,
    event::{Change, Event, EventBody},
    text,
    transcript::Answer,
    work::{Trust, WorkItem},
};

use crate::cli::moment;

/// Lines of a tool's output or a text that are shown.
const LINES: usize = 8;
/// Characters of a line that are shown.
const WIDTH: usize = 110;

/// Writes a journal event by event: its seq, how long after the run was opened, what happened.
#[derive(Debug, Default)]
pub(super) struct Writer {
    opened_at: Option<UnixMillis>,
    /// The tools' names, by call.
    calls: HashMap<String, String>,
    /// What the model said last.
    last: String,
}

/// A whole journal.
pub(super) fn lines(journal: &[Event]) -> String {
    let mut writer = Writer::default();
    let lines: Vec<String> = journal.iter().map(|event| writer.lines(event)).collect();
    lines.join("\n")
}

impl Writer {
    /// The next event.
    pub(super) fn lines(&mut self, event: &Event) -> String {
        if let EventBody::ModelAnswered(answer) = &event.body {
            self.last = answer.text();
            for call in answer.tool_calls() {
                self.calls.insert(call.id.clone(), call.name.clone());
            }
        }
        let tool = |call: &str| self.calls.get(call).map_or("a tool", String::as_str).to_owned();
        let opened_at = *self.opened_at.get_or_insert(event.at);
        let after = text::span(event.at.since(opened_at));
        let said = match &event.body {
            // It stands right above.
            EventBody::Completed { reply: Some(reply) } if *reply == self.last => {
                "with that as the reply".to_owned()
            }
            _ => said(event, tool),
        };
        let mut said = said.trim_end().lines();
        let first = said.next().unwrap_or_default();
        let head = format!("{:>6}  {after:>10}  {:<12} {first}", event.seq, word(&event.body));
        let mut lines = vec![head.trim_end().to_owned()];
        lines.extend(said.map(|line| format!("{:33}{line}", "").trim_end().to_owned()));
        lines.join("\n")
    }
}

/// What kind of thing happened, in a word.
fn word(body: &EventBody) -> &'static str {
    match body {
        EventBody::SpriteClaimed { .. } => "sprite",
        EventBody::SessionOpened { .. } => "session",
        EventBody::ModelAnswered(_) => "model",
        EventBody::ModelFailed { .. } => "model failed",
        EventBody::ToolStarted { .. } => "starts",
        EventBody::ToolFinished { result, .. } if result.is_error => "error",
        EventBody::ToolFinished { .. } => "result",
        EventBody::Parked { .. } => "sleeps",
        body => body.kind(),
    }
}

fn said(event: &Event, tool: impl Fn(&str) -> String) -> String {
    match &event.body {
        EventBody::Opened { work_item, .. } => format!("{}: {}", speaker(work_item), block(&work_item.text)),
        EventBody::Leased { runner } => format!("by {runner}, lease {}", event.epoch),
        EventBody::SpriteClaimed { sprite } => sprite.clone(),
        EventBody::SessionOpened {
            purpose,
            sprite,
            session,
        } => format!("{session} in sprite {sprite}, for {purpose}"),
        EventBody::ModelAnswered(answer) => answered(answer),
        EventBody::ModelFailed {
            code,
            message,
            retry_in_ms,
            ..
        } => match retry_in_ms {
            Some(retry) => format!("{code}: {message}\nit is asked again in {}", text::millis(*retry)),
            None => format!("{code}: {message}"),
        },
        EventBody::ToolStarted { call, class } => format!("{}{}", tool(call), repeated(*class)),
        EventBody::ToolFinished { result, took_ms } => {
            let head = format!("{}, {}", tool(&result.call), text::millis(*took_ms));
            format!("{head}\n{}", block(&result.text))
        }
        EventBody::Compacted { usage, cost, .. } => format!(
            "all before was replaced by a summary ({} written, {})",
            text::count(usage.output, "token"),
            text::money(*cost)
        ),
        EventBody::Parked { until, reason } => format!("until {}: {reason}", moment::write(*until)),
        EventBody::Steered {
            change, work_item, ..
        } => {
            let what = match change {
                Change::Said => "",
                Change::Edited => " edited a message, which reads now",
                Change::Deleted => " deleted a message, which read",
            };
            format!("{}{what}: {}", speaker(work_item), block(&work_item.text))
        }
        EventBody::Answered { decision, .. } => {
            let choice = decision.choice.map_or("in words", |choice| choice.as_str());
            format!("by {}: {choice}\n{}", decision.by, block(&decision.text))
        }
        EventBody::Paused { by, until } => {
            format!("by {by}; cancelled if nobody resumes it {}", by_then(*until))
        }
        EventBody::Asked { question, until } => {
            format!(
                "{}\ncancelled if nobody answers {}",
                block(&question.text),
                by_then(*until)
            )
        }
        EventBody::Poisoned { crashes, until } => format!(
            "{} ended with it in a row, without a word; cancelled if nobody resumes it {}",
            text::count((*crashes).into(), "runner"),
            by_then(*until)
        ),
        EventBody::Resumed { by } => format!("by {by}"),
        EventBody::Released { reason } => reason.clone(),
        EventBody::Completed { reply } => match reply {
            Some(reply) => format!("with the reply\n{}", block(reply)),
            None => "with nothing to say".to_owned(),
        },
        EventBody::Failed { code, message } => format!("{code}: {message}"),
        EventBody::Cancelled { by, reason } => match reason {
            Some(reason) => format!("by {by}: {reason}"),
            None => format!("by {by}"),
        },
    }
}

fn answered(answer: &Answer) -> String {
    let mut lines = vec![format!(
        "{}, {}, {}, {}",
        answer.model,
        text::millis(answer.took_ms),
        text::count(answer.usage.context() + answer.usage.output, "token"),
        text::money(answer.cost)
    )];
    let said = answer.text();
    if !said.trim().is_empty() {
        lines.push(block(&said));
    }
    lines.extend(answer.tool_calls().map(|call| {
        let input = match call.input["command"].as_str() {
            Some(command) => command.to_owned(),
            None => call.input.to_string(),
        };
        format!("→ {} {}", call.name, text::line(&input, WIDTH))
    }));
    lines.join("\n")
}

fn speaker(item: &WorkItem) -> String {
    match item.actor.trust {
        Trust::Member => item.actor.name.clone(),
        Trust::Outsider => format!("{} (from outside)", item.actor.name),
    }
}

/// What is to be known of a call whose end is not in the journal.
fn repeated(class: EffectClass) -> &'static str {
    match class {
        EffectClass::Pure | EffectClass::Idempotent => "",
        EffectClass::AtMostOnce => ", once at most",
        EffectClass::NeedsApproval => ", as approved",
    }
}

fn by_then(until: UnixMillis) -> String {
    format!("by {}", moment::write(until))
}

/// The first lines of a text, each cut.
fn block(said: &str) -> String {
    let said: Vec<&str> = said.trim().lines().collect();
    let mut lines: Vec<String> = said.iter().take(LINES).map(|line| cut(line)).collect();
    if said.len() > LINES {
        lines.push(format!("… {} more lines", said.len() - LINES));
    }
    lines.join("\n")
}

/// A line, cut; its indentation stays.
fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
