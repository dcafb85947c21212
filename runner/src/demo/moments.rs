//! What happened so far, told as it comes: the run's journal and what becomes visible on GitHub, in one line of time.

use std::time::Duration;

use roost_shared::{
    event::{Event, EventBody},
    run::Phase,
    transcript::{Answer, ToolCall},
};
use tokio::time::Instant;

use super::timeline::{Happening, Moment};
use crate::standin::github::{Made, MadeKind};

/// How long after its run a reply may come.
pub(super) const REPLY_WITHIN: Duration = Duration::from_secs(20);
/// Longer than any demo.
const A_DAY: Duration = Duration::from_secs(86_400);

/// The moments told so far.
pub(super) struct Moments<'a, F: FnMut(&Moment)> {
    sent: Instant,
    tell: &'a mut F,
    told: Vec<Moment>,
    calls: Vec<ToolCall>,
    ended: Option<Phase>,
    replied: bool,
    /// Things made on GitHub that were told.
    seen: usize,
}

impl<'a, F: FnMut(&Moment)> Moments<'a, F> {
    pub(super) fn begin(tell: &'a mut F) -> Self {
        Self {
            sent: Instant::now(),
            tell,
            told: Vec::new(),
            calls: Vec::new(),
            ended: None,
            replied: false,
            seen: 0,
        }
    }

    /// How many things made on GitHub were told.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// All that was told.
    pub(super) fn into_told(self) -> Vec<Moment> {
        self.told
    }

    pub(super) fn add(&mut self, at: Instant, what: Happening) {
        let after = at.saturating_duration_since(self.sent);
        let moment = Moment { after, what };
        (self.tell)(&moment);
        self.told.push(moment);
    }

    /// Takes an event of the journal; true when there is nothing more to wait for.
    pub(super) fn event(&mut self, event: Event) -> bool {
        let now = Instant::now();
        match event.body {
            EventBody::Leased { runner } => self.add(now, Happening::Leased { runner }),
            EventBody::ModelAnswered(answer) => self.answered(now, &answer),
            EventBody::ModelFailed {
                code,
                message,
                retry_in_ms,
                ..
            } => self.add(
                now,
                Happening::ModelFailed {
                    code,
                    message,
                    retry_in_ms,
                },
            ),
            EventBody::ToolFinished { result, took_ms } => {
                let called = self.calls.iter().find(|call| call.id == result.call);
                let tool = called.map(|call| call.name.clone()).unwrap_or_default();
                self.add(
                    now,
                    Happening::Result {
                        tool,
                        output: result.text,
                        is_error: result.is_error,
                        took_ms,
                    },
                );
            }
            EventBody::Parked { reason, .. } => self.add(now, Happening::Parked { reason }),
            EventBody::Completed { .. } => self.end(now, Phase::Completed, None),
            EventBody::Failed { code, message } => {
                self.end(now, Phase::Failed, Some(format!("{code}: {message}")));
            }
            EventBody::Cancelled { by, .. } => self.end(now, Phase::Cancelled, Some(format!("by {by}"))),
            _ => {}
        }
        self.is_over()
    }

    fn answered(&mut self, at: Instant, answer: &Answer) {
        self.add(
            at,
            Happening::Model {
                model: answer.model.clone(),
                text: answer.text(),
                took_ms: answer.took_ms,
            },
        );
        for call in answer.tool_calls() {
            self.calls.push(call.clone());
            let input = match call.input["command"].as_str().or(call.input["path"].as_str()) {
                Some(main) => main.to_owned(),
                None => call.input.to_string(),
            };
            self.add(
                at,
                Happening::Call {
                    tool: call.name.clone(),
                    input,
                },
            );
        }
    }

    fn end(&mut self, at: Instant, phase: Phase, reason: Option<String>) {
        self.ended = Some(phase);
        self.add(
            at,
            Happening::Ended {
                phase: phase.as_str().to_owned(),
                reason,
            },
        );
    }

    /// Takes what became visible on GitHub; true when there is nothing more to wait for.
    pub(super) fn made(&mut self, made: Made) -> bool {
        let now = Instant::now();
        self.seen += 1;
        if made.kind == MadeKind::Reaction {
            self.add(
                now,
                Happening::Acknowledged {
                    reaction: made.content,
                },
            );
        } else {
            // What follows is an invisible marker.
            let text = made
                .content
                .split("<!--")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            self.replied = true;
            self.add(now, Happening::Reply { text });
        }
        self.is_over()
    }

    /// Until when to wait for the next moment: a reply follows the run's end at once, or something is wrong.
    pub(super) fn patience(&self) -> Instant {
        let last = self.told.last().map_or(Duration::ZERO, |moment| moment.after);
        let span = if self.ended.is_some() { REPLY_WITHIN } else { A_DAY };
        self.sent + last + span
    }

    /// A completed run is over with its reply, any other at once.
    fn is_over(&self) -> bool {
        match self.ended {
            None => false,
            Some(Phase::Completed) => self.replied,
            Some(_) => true,
        }
    }
}
