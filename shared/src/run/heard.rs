//! What a run takes in of what it was told from outside: one rule for every driver of runs.
//!
//! Invariant: a signal is taken in once, in the order of the ids; what stops a run is not taken in but acted upon.

use super::RunState;
use crate::{
    event::{Change, EventBody},
    question::Question,
    wire::{Signal, SignalBody},
    work::Trust,
};

impl RunState {
    /// The events that take in what the run has not heard of `signals`, by the order of their ids.
    pub fn take_in<'a>(&self, signals: impl IntoIterator<Item = &'a Signal>) -> Vec<EventBody> {
        let mut signals: Vec<&Signal> = signals.into_iter().collect();
        signals.sort_by_key(|signal| signal.id);
        let mut question = self.question.as_ref();
        let mut events = Vec::new();
        for signal in signals.into_iter().filter(|signal| !self.has_heard(signal.id)) {
            let Some(event) = take_in(signal, question) else {
                continue;
            };
            if matches!(event, EventBody::Answered { .. }) {
                question = None;
            }
            events.push(event);
        }
        events
    }
}

/// The event that takes a signal in, if it is one that is taken in. What a member says while a question is open answers it.
fn take_in(signal: &Signal, question: Option<&Question>) -> Option<EventBody> {
    match (&signal.body, question) {
        (SignalBody::Answer { decision }, _) => Some(EventBody::Answered {
            signal: signal.id,
            decision: decision.clone(),
        }),
        (
            SignalBody::Steer {
                change: Change::Said,
                work_item,
            },
            Some(question),
        ) if work_item.actor.trust == Trust::Member => Some(EventBody::Answered {
            signal: signal.id,
            decision: question.decided_by(&work_item.actor.name, &work_item.text),
        }),
        (SignalBody::Steer { change, work_item }, _) => Some(EventBody::Steered {
            signal: signal.id,
            change: *change,
            work_item: work_item.clone(),
        }),
        (SignalBody::Cancel { .. } | SignalBody::Pause { .. }, _) => None,
    }
}
