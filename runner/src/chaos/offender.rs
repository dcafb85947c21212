//! The first broken promise with all that belongs to it: for whoever looks for the cause.

use roost_shared::event::{Event, EventBody};

use super::{
    check::Offence,
    history::{History, Told},
};

/// Characters shown of one event.
const SHOWN: usize = 160;
/// Faults this long before the webhook and after the end belong to the story, in milliseconds.
const AROUND: i64 = 1_500;

/// Everything in the order of its time, a line each.
pub fn story(history: &History, offence: &Offence) -> Vec<String> {
    let mut lines: Vec<(i64, String)> = Vec::new();
    let Some(number) = offence.job else {
        return vec![offence.what.clone()];
    };
    if let Some(job) = history.jobs.iter().find(|job| job.number == number) {
        let answers: Vec<String> = job
            .answers
            .iter()
            .map(|answer| answer.map_or_else(|| "no answer".to_owned(), |status| status.to_string()))
            .collect();
        lines.push((
            job.sent_at,
            format!("webhook {number}, answered {}", answers.join(", ")),
        ));
    }
    for told in history.runs_of(number) {
        lines.extend(told.journal.iter().map(|event| (event.at.0, line(told, event))));
    }
    for call in history.calls.iter().filter(|call| call.job == number) {
        lines.push((
            call.at.0,
            format!("model   asked by {} for answer {}", call.agent, call.position),
        ));
    }
    lines.sort_by_key(|(at, _)| *at);
    let (Some(first), Some(last)) = (lines.first().map(|line| line.0), lines.last().map(|line| line.0))
    else {
        return vec![offence.what.clone()];
    };
    for struck in &history.struck {
        if struck.until + AROUND >= first && struck.at <= last + AROUND {
            let what = format!("FAULT   {} ({})", struck.fault.name(), struck.target);
            lines.push((struck.at, what));
            lines.push((struck.until, format!("whole   {} is back", struck.target)));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    let told = lines
        .into_iter()
        .map(|(at, what)| format!("{:>8} ms  {what}", at - first));
    std::iter::once(offence.what.clone()).chain(told).collect()
}

fn line(told: &Told, event: &Event) -> String {
    let text = match &event.body {
        EventBody::Opened { .. } => "opened".to_owned(),
        body => serde_json::to_string(body).unwrap_or_default(),
    };
    let shown: String = text.chars().take(SHOWN).collect();
    format!(
        "journal {} #{} epoch {}: {shown}",
        told.agent, event.seq, event.epoch
    )
}
