//! What people may rely on: a cancelled run ends and says nothing after, a paused one goes on when it is resumed, an edited message
//! is answered as it reads now, a question is asked once, and a run that failed goes on where it stood when somebody says so.

use std::collections::BTreeSet;

use roost_shared::event::{Change, Event, EventBody};

use crate::{
    chance::Luck,
    history::{History, RunTold},
    person::Want,
    sender::Message,
};

/// Checks what was done by people.
pub(super) fn check(history: &History, offences: &mut Vec<String>) {
    for told in &history.runs {
        cancelled(history, told, offences);
        paused(history, told, offences);
        questions(history, told, offences);
        answers(history, told, offences);
        failed(history, told, offences);
    }
    for message in &history.messages {
        edits(history, message, offences);
    }
}

/// Who is told that a run is cancelled finds it so; and nothing is cancelled that nobody wanted ended.
fn cancelled(history: &History, told: &RunTold, offences: &mut Vec<String>) {
    let mut wanted = history
        .deeds
        .iter()
        .filter(|deed| deed.run == told.id && deed.want == Want::Cancel);
    let is_cancelled = told.phase == "cancelled";
    if wanted
        .clone()
        .any(|deed| deed.done.as_deref() == Some("cancelled"))
        && !is_cancelled
    {
        offences.push(format!("run {} was cancelled, and is {}", told.id, told.phase));
    }
    if is_cancelled && wanted.next().is_none() && !opened_by_deleted(history, told) {
        offences.push(format!("nobody cancelled run {}", told.id));
    }
    let reply = format!("answer to {}", opened(told).unwrap_or_default());
    if is_cancelled && history.said.iter().any(|said| said.text.contains(&reply)) {
        offences.push(format!("run {} was cancelled, and replied", told.id));
    }
}

/// A run pauses only for a pause, and not for one that was taken back: nobody would resume it.
fn paused(history: &History, told: &RunTold, offences: &mut Vec<String>) {
    let paused = told.journal.iter().filter(|event| event.body.kind() == "paused");
    let deeds: Vec<_> = history.deeds.iter().filter(|deed| deed.run == told.id).collect();
    for event in paused {
        // The last deed before it that is known to have been done before it.
        let before = deeds
            .iter()
            .rposition(|deed| deed.seen_after.is_some_and(|seen| seen <= event.seq));
        let resumed = before.is_some_and(|place| deeds[place].want == Want::Resume);
        let from = before.map_or(0, |place| if resumed { place + 1 } else { 0 });
        let mut pauses = (0..).zip(&deeds).filter(|(_, deed)| deed.want == Want::Pause);
        // One that was never answered may arrive at any time.
        if !pauses.any(|(place, deed)| place >= from || deed.done.is_none()) {
            offences.push(format!("run {} paused at {} without a pause", told.id, event.seq));
        }
    }
}

/// A question is in its channel once, or the outbox says that it does not know.
fn questions(history: &History, told: &RunTold, offences: &mut Vec<String>) {
    let in_doubt = told.questions.iter().any(|state| state == "unknown");
    for event in &told.journal {
        let EventBody::Asked { question, .. } = &event.body else {
            continue;
        };
        match history
            .said
            .iter()
            .filter(|said| said.text.contains(&question.text))
            .count()
        {
            0 if !in_doubt => offences.push(format!("{:?} did not arrive", question.text)),
            0 | 1 => {}
            more => offences.push(format!("{:?} arrived {more} times", question.text)),
        }
    }
}

/// The words by which somebody let the run try again after it had failed.
pub(super) fn tries(told: &RunTold) -> impl Iterator<Item = &Event> {
    let pairs = told.journal.windows(2);
    pairs
        .filter(|pair| pair[0].body.kind() == "failed")
        .map(|pair| &pair[1])
}

/// A run that failed goes on only by a person's word, as often as they gave it; and what the model had said before, it is not asked
/// for again.
fn failed(history: &History, told: &RunTold, offences: &mut Vec<String>) {
    let wanted = history
        .deeds
        .iter()
        .filter(|deed| deed.run == told.id && deed.want == Want::Resume);
    let tried: Vec<_> = tries(told).collect();
    if tried.iter().any(|event| event.body.kind() != "resumed") || tried.len() > wanted.count() {
        offences.push(format!(
            "run {} went on after it had failed, and nobody said so",
            told.id
        ));
    }
    let mut calls = BTreeSet::new();
    for event in &told.journal {
        let EventBody::ModelAnswered(answer) = &event.body else {
            continue;
        };
        for call in answer.tool_calls().filter(|call| !calls.insert(&call.id)) {
            offences.push(format!(
                "the model was asked for {} of run {} again",
                call.id, told.id
            ));
        }
    }
}

/// A reply knows every message of its run as its author last wrote it.
fn answers(history: &History, told: &RunTold, offences: &mut Vec<String>) {
    let Some(reply) = told.journal.iter().find_map(|event| match &event.body {
        EventBody::Completed { reply } => reply.as_deref(),
        _ => None,
    }) else {
        return;
    };
    for message in history
        .messages
        .iter()
        .filter(|message| message.is(Change::Edited) == Luck::Yes)
    {
        let text = message.text(Change::Edited);
        if taken_in(told, &text) > 0 && !reply.contains(&text) {
            offences.push(format!("run {} replied without {text:?}", told.id));
        }
    }
}

/// An edit is taken in once, by a run that was told of it, unless that one was cancelled.
fn edits(history: &History, message: &Message, offences: &mut Vec<String>) {
    let Some(changed) = message
        .changed
        .as_ref()
        .filter(|changed| changed.change == Change::Edited)
    else {
        return;
    };
    let text = message.text(Change::Edited);
    let times: usize = history.runs.iter().map(|told| taken_in(told, &text)).sum();
    if times > 1 {
        offences.push(format!("{text:?} was taken in {times} times"));
    }
    let completed = history
        .runs
        .iter()
        .find(|told| changed.told.contains(&told.id) && told.phase == "completed");
    if let Some(told) = completed.filter(|_| times == 0) {
        offences.push(format!(
            "run {} was told of {text:?} and did not take it in",
            told.id
        ));
    }
}

/// How often the run's journal has the edit.
fn taken_in(told: &RunTold, text: &str) -> usize {
    let is_it = |body: &EventBody| matches!(body, EventBody::Steered { change: Change::Edited, work_item, .. } if work_item.text == text);
    told.journal.iter().filter(|event| is_it(&event.body)).count()
}

fn opened(told: &RunTold) -> Option<String> {
    match &told.journal.first()?.body {
        EventBody::Opened { work_item, .. } => Some(work_item.id.to_string()),
        _ => None,
    }
}

/// Whether the message that began the run was deleted.
fn opened_by_deleted(history: &History, told: &RunTold) -> bool {
    let text = told.journal.first().and_then(|event| match &event.body {
        EventBody::Opened { work_item, .. } => Some(&work_item.text),
        _ => None,
    });
    let mut deleted = history
        .messages
        .iter()
        .filter(|message| message.is(Change::Deleted) == Luck::Yes);
    deleted.any(|message| text == Some(&message.text(Change::Said)))
}
