//! Working: the tool calls of one answer, in steps.
//!
//! A step is a run of neighbouring calls that change nothing, made at the same time, or a single call that does change
//! something. Before a step its calls are journaled as begun, in the append that carries the results of the step before
//! (for the first step: the answer itself); so a turn costs one append per step and one for the last results, and at
//! every moment the journal shows at most one changing call as begun and unanswered. A crash between two appends leaves
//! either a call that has not begun, which is made, or that one call, which is made again only if that does no harm; else a
//! person is asked: see [`super::ask`].

use std::time::Instant;

use futures::future::join_all;
use roost_shared::{
    effect::EffectClass,
    event::EventBody,
    fail_point::{self, FailPoint},
    run::PendingCall,
    transcript::ToolResult,
};

use super::{
    ask::Ruling,
    drive::Drive,
    ears::Interrupt,
    journal::Stopped,
    room::Needs,
    sprite::{Made, Ready},
};
use crate::tool::ToolOutput;

impl Drive {
    /// Makes the calls; `first` is written with the first step's beginning.
    pub(super) async fn work(
        &mut self,
        first: Vec<EventBody>,
        calls: Vec<PendingCall>,
    ) -> Result<Option<Interrupt>, Stopped> {
        let mut unwritten = first;
        let turn = self.journal.read(|state| state.turns).await + answers(&unwritten);
        let mut calls = calls.into_iter().peekable();
        let mut last = EffectClass::Pure;
        while let Some(call) = calls.next() {
            match self.ruling(&call) {
                Ruling::Make => {}
                Ruling::Answer(output) => {
                    unwritten.push(finished(&call, output, 0));
                    continue;
                }
                Ruling::Ask(question) => {
                    // On its own: it may be held back, and then what went before must stand all the same.
                    self.journal.write(unwritten).await?;
                    self.ask_person(question).await?;
                    return Ok(None);
                }
            }
            let mut step = vec![call];
            last = self.class(&step[0]);
            if last == EffectClass::Pure {
                while let Some(next) = calls.next_if(|next| self.class(next) == EffectClass::Pure) {
                    step.push(next);
                }
            }
            if !self.sprite_is_there {
                // Making one may take long; what is known already is not kept waiting for it.
                unwritten.extend(self.claim_sprite().await);
                self.journal.write(std::mem::take(&mut unwritten)).await?;
                match self.prepare_sprite().await? {
                    Ok(Ready::Yes) => {}
                    Ok(Ready::Rests) => return Ok(None),
                    Err(interrupt) => return Ok(Some(interrupt)),
                }
            }
            unwritten.extend(step.iter().map(|pending| EventBody::ToolStarted {
                call: pending.call.id.clone(),
                class: self.class(pending),
            }));
            self.journal.write(std::mem::take(&mut unwritten)).await?;
            let made = match self.step(turn, step).await {
                Ok(made) => made,
                Err(interrupt) => return Ok(Some(interrupt)),
            };
            let (results, away) = self.made(made).await;
            unwritten = results;
            if let Some(error) = away {
                self.without_sprite(unwritten, &error, Needs::Awake).await?;
                return Ok(None);
            }
        }
        // The model is asked about the results before they are durable. They may go with its answer where that is there at
        // once and a call that was made twice does no harm.
        match last {
            EffectClass::Pure | EffectClass::Idempotent => self.journal.hold(unwritten).await?,
            EffectClass::AtMostOnce | EffectClass::NeedsApproval => {
                self.journal.write_behind(unwritten).await?;
            }
        }
        Ok(None)
    }

    pub(super) fn class(&self, pending: &PendingCall) -> EffectClass {
        self.tools.effect_class(&pending.call.name)
    }

    async fn step(&mut self, turn: u32, step: Vec<PendingCall>) -> Result<Vec<Made>, Interrupt> {
        let (tools, context) = (self.tools.clone(), self.context.clone());
        let calls = join_all(step.into_iter().map(|pending| async {
            let began = Instant::now();
            // Some servers number their calls anew after a summary; with the turn no two calls share a key.
            let context = context.for_call(&format!("{turn}-{}", pending.call.id));
            let output = tools
                .call(&context, &pending.call.name, pending.call.input.clone())
                .await;
            fail_point::reach(FailPoint::CommandEnded);
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            (pending, output, took_ms)
        }));
        self.ears.unless_interrupted(calls).await
    }
}

/// Turns that are not in the journal yet.
fn answers(unwritten: &[EventBody]) -> u32 {
    let answers = unwritten
        .iter()
        .filter(|event| matches!(event, EventBody::ModelAnswered(_)));
    u32::try_from(answers.count()).unwrap_or(u32::MAX)
}

pub(super) fn finished(pending: &PendingCall, output: ToolOutput, took_ms: u64) -> EventBody {
    let result = ToolResult {
        call: pending.call.id.clone(),
        text: output.text,
        is_error: output.is_error,
    };
    EventBody::ToolFinished { result, took_ms }
}
