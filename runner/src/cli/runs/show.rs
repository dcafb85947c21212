//! One run for people: where it stands and why, what can be done about it, what was sent, and its journal.

use roost_shared::{
    event::{Event, EventBody},
    question::Choice,
    run::fails_again,
    text,
    work::Trust,
};

use super::journal;
use crate::cli::{
    moment,
    table::facts,
    views::{EffectRow, Run, RunDetail},
};

/// The whole page.
pub(super) fn page(detail: &RunDetail, events: &[Event]) -> String {
    let run = &detail.run;
    let mut page = vec![("run", run.id.to_string()), ("state", run.state())];
    let why = why(run, events).into_iter();
    page.extend(why.chain(asked_for(detail)).map(|why| ("", why)));
    if let Some(question) = &detail.question {
        page.push(("question", question.text.trim().to_owned()));
    }
    page.extend(next(detail).map(|next| ("to do", next)));
    let trust = match run.asked.trust {
        Trust::Member => "",
        Trust::Outsider => " (from outside)",
    };
    page.extend([
        ("asked", text::line(&run.asked.excerpt, 280)),
        (
            "by",
            format!("{}{trust}, {}", run.asked.by, moment::write(run.created_at)),
        ),
        ("in", conversation(run)),
        (
            "agent",
            format!("{}, version {}", run.agent.handle, run.agent.version),
        ),
        ("used", used(run)),
    ]);
    if let Some(runner) = &run.runner {
        page.push(("runner", format!("{runner}, lease {}", run.epoch)));
    }
    if run.is_over() {
        page.push(("ended", moment::write(run.updated_at)));
    }
    page.extend(detail.effects.iter().map(|effect| ("effect", sent(effect))));
    format!("{}\n\n{}", facts(&page), journal::lines(events))
}

/// Why it stands where it stands: what its journal said last about that.
fn why(run: &Run, journal: &[Event]) -> Option<String> {
    let fits = |body: &EventBody| match run.phase.as_str() {
        "parked" => matches!(body, EventBody::Parked { .. }),
        "waiting" => matches!(
            body,
            EventBody::Paused { .. } | EventBody::Asked { .. } | EventBody::Poisoned { .. }
        ),
        "failed" => matches!(body, EventBody::Failed { .. }),
        "cancelled" => matches!(body, EventBody::Cancelled { .. }),
        _ => false,
    };
    let event = journal.iter().rev().find(|event| fits(&event.body))?;
    Some(match &event.body {
        EventBody::Parked { until, reason } => format!("{reason}; it sleeps until {}", moment::write(*until)),
        EventBody::Paused { by, until } => {
            format!(
                "paused by {by}; it is cancelled if nobody resumes it by {}",
                moment::write(*until)
            )
        }
        EventBody::Asked { until, .. } => {
            format!(
                "it asks before it goes on; it is cancelled if nobody answers by {}",
                moment::write(*until)
            )
        }
        EventBody::Poisoned { crashes, until } => format!(
            "{} ended with it in a row, without a word: see what it did last; it is cancelled if nobody resumes it by {}",
            text::count((*crashes).into(), "runner"),
            moment::write(*until)
        ),
        EventBody::Failed { message, .. } => message.clone(),
        EventBody::Cancelled { by, reason } => match reason {
            Some(reason) => format!("by {by}: {reason}"),
            None => format!("by {by}"),
        },
        _ => return None,
    })
}

/// What its runner was told and has not done yet.
fn asked_for(detail: &RunDetail) -> Option<String> {
    match (&detail.cancel_asked_by, &detail.pause_asked_by) {
        (Some(by), _) => Some(format!("{by} cancels it: its runner has been told")),
        (None, Some(by)) => Some(format!("{by} pauses it: its runner finishes its step")),
        (None, None) => None,
    }
}

/// What a person can do that takes it further.
fn next(detail: &RunDetail) -> Option<String> {
    let run = &detail.run;
    let id = run.id;
    match (run.phase.as_str(), run.waits.as_deref(), &detail.question) {
        (_, _, Some(question)) => {
            let ways: Vec<String> = question.options.iter().map(|choice| way(*choice)).collect();
            Some(format!("roost runs answer {id} CHOICE: {}", ways.join(", ")))
        }
        ("waiting", _, _) => Some(format!("roost runs resume {id}")),
        ("parked", _, _) => Some(format!("nothing; `roost runs resume {id}` wakes it now")),
        ("failed", _, _) if run.outcome.as_deref().is_some_and(fails_again) => {
            Some("ask for the rest of its work anew: tried again, it would end the same way".to_owned())
        }
        ("failed", _, _) => Some(format!(
            "mend it, then `roost runs resume {id}`: it goes on where it stood"
        )),
        _ => None,
    }
}

fn way(choice: Choice) -> String {
    format!("{} ({})", choice.as_str(), choice.meaning())
}

fn conversation(run: &Run) -> String {
    let conversation = &run.conversation;
    let mut words = vec![conversation.key.clone()];
    if !conversation.title.is_empty() && conversation.title != conversation.key {
        words.push(text::line(&conversation.title, 80));
    }
    words.extend(conversation.url.clone());
    words.join("  ")
}

fn used(run: &Run) -> String {
    format!(
        "{}, {}, {}",
        text::count(run.turns, "turn"),
        text::count(run.tokens, "token"),
        text::money(run.cost)
    )
}

fn sent(effect: &EffectRow) -> String {
    let mut words = format!("{}  {}", effect.id, effect.standing());
    if let Some(reason) = &effect.reason {
        words = format!("{words} ({reason})");
    }
    words
}
