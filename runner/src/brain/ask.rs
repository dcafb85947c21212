//! Calls that a person decides about: one that was under way when its process ended and must not be made twice, and one that
//! nobody may make without approval.
//!
//! Invariant: such a call is made only on a person's `run`, and once per `run`: its new beginning is journaled first, and in
//! doubt it is asked about again. Tools that can look for themselves don't come here: their calls are idempotent.

use roost_shared::{
    effect::EffectClass,
    event::EventBody,
    question::{Choice, Decision, PATIENCE, Question},
    run::PendingCall,
};

use super::{drive::Drive, journal::Stopped};
use crate::{clock, tool::ToolOutput};

/// Characters of a call's input that a question shows.
const INPUT: usize = 600;

/// What is to become of a call.
pub(super) enum Ruling {
    /// It is made.
    Make,
    /// It is answered without being made.
    Answer(ToolOutput),
    /// A person decides.
    Ask(Question),
}

impl Drive {
    /// What is to become of a call.
    pub(super) fn ruling(&self, pending: &PendingCall) -> Ruling {
        let in_doubt = matches!(
            pending.started,
            Some(EffectClass::AtMostOnce | EffectClass::NeedsApproval)
        );
        let unapproved = pending.started.is_none() && self.class(pending) == EffectClass::NeedsApproval;
        match (&pending.decision, in_doubt || unapproved) {
            (_, false) => Ruling::Make,
            (None, true) => Ruling::Ask(question(pending, in_doubt)),
            (Some(decision), true) => match decision.choice {
                Some(Choice::Run) => Ruling::Make,
                Some(Choice::Done) => Ruling::Answer(ToolOutput::ok(told(
                    "It was under way when its process ended. A person was asked and says that it was done.",
                    decision,
                ))),
                Some(Choice::Skip) | None => Ruling::Answer(ToolOutput::error(told(
                    match in_doubt {
                        true => {
                            "It was under way when its process ended, and nobody knows whether it was done. It was not run again."
                        }
                        false => "It was not run: a person was asked and did not approve it.",
                    },
                    decision,
                ))),
            },
        }
    }

    /// Asks a person, and sleeps until somebody answers.
    pub(super) async fn ask_person(&self, question: Question) -> Result<(), Stopped> {
        let until = clock::now() + PATIENCE;
        self.journal
            .write(vec![EventBody::Asked { question, until }])
            .await
    }
}

fn question(pending: &PendingCall, in_doubt: bool) -> Question {
    let input = pending.call.input.to_string();
    let end = input.char_indices().nth(INPUT).map_or(input.len(), |(at, _)| at);
    let dots = if end < input.len() { " […]" } else { "" };
    let what = format!("`{}`\n\n~~~\n{}{dots}\n~~~", pending.call.name, &input[..end]);
    let (text, options) = match in_doubt {
        true => (
            format!(
                "This step was under way when its process ended, and it can't be seen from here whether it was done: {what}\n\n\
                 Please look. Was it done, shall I run it again, or shall I go on without it?"
            ),
            Choice::ALL.to_vec(),
        ),
        false => (
            format!("This step needs a person's approval: {what}\n\nShall I run it?"),
            vec![Choice::Run, Choice::Skip],
        ),
    };
    Question {
        call: pending.call.id.clone(),
        text,
        options,
    }
}

/// What the model reads of a decision.
fn told(what: &str, decision: &Decision) -> String {
    match decision.text.trim() {
        "" => format!("{what} ({:?} decided.)", decision.by),
        text => format!("{what} {:?} said: {text:?}", decision.by),
    }
}
