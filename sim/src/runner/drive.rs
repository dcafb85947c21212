//! Driving one run: the fold says what comes next, a scripted model answers, and every step is journaled.
//!
//! Invariant: what is done next follows from the journal alone, so any runner goes on where another stopped; nothing is done
//! under a lease after an append under it was refused.

use std::time::Duration;

use roost_shared::{
    effect::EffectClass,
    event::EventBody,
    question::{Choice, PATIENCE, Question},
    run::{Next, PendingCall, RunState},
    transcript::ToolResult,
    wire::{AppendRequest, Lease},
};

use super::{
    client::{Client, Refusal},
    ear::Ear,
    script::{self, BLAST},
};
use crate::{
    chance::{Luck, SharedChance},
    edge_host::true_time,
    history::{Ack, Acks},
    trace::Trace,
};

/// The refusal of an append that takes in what was taken back.
const WITHDRAWN: &str = "signal_withdrawn";

/// Of a hundred calls of the model, so many are refused.
const REFUSED: usize = 5;

/// What driving a run needs of its runner.
#[derive(Clone)]
pub struct Driver {
    /// The name of the host.
    pub host: String,
    /// The way to the edges.
    pub client: Client,
    /// How long steps take.
    pub chance: SharedChance,
    /// What it was told is durable.
    pub acks: Acks,
    /// Where it is written down why it stopped.
    pub trace: Trace,
}

impl Driver {
    /// Drives the run to its end, or until it can't be journaled any more.
    pub async fn drive(self, lease: Lease, ear: Ear) {
        let Ok(mut state) = RunState::fold(&lease.journal) else {
            return self.trace.panicked(&self.host);
        };
        ear.tell(lease.signals.iter().cloned());
        loop {
            let events = match (ear.interrupted(true_time()), ear.taken_in(&state)) {
                (Some(end), _) => vec![end],
                (None, told) if !told.is_empty() => told,
                (None, _) => match state.next() {
                    Next::CallModel => {
                        self.pass(50, 1_500).await;
                        match self.chance.draw(|chance| chance.in_hundred(REFUSED)) {
                            Luck::Yes => script::refusal().to_vec(),
                            Luck::No => vec![script::answer(&state)],
                        }
                    }
                    Next::RunTools(calls) => self.work(&lease, &state, &calls[0]).await,
                    Next::Complete(text) | Next::Refused(text) => {
                        vec![EventBody::Completed { reply: Some(text) }]
                    }
                    Next::Compact | Next::Rest => return,
                },
            };
            if let Err(refusal) = self.append(&lease, &mut state, &ear, events).await {
                let stopped = format!("run {} epoch {} stops: {refusal}", lease.run, lease.epoch);
                return self.trace.note(&self.host, &stopped);
            }
            if state.next() == Next::Rest {
                return;
            }
        }
    }

    /// Writes the events, unless there is something the run has to hear first, or something of it was taken back.
    async fn append(
        &self,
        lease: &Lease,
        state: &mut RunState,
        ear: &Ear,
        events: Vec<EventBody>,
    ) -> Result<(), Refusal> {
        let request = AppendRequest {
            epoch: lease.epoch,
            expected_seq: state.next_seq,
            events,
        };
        let answer = match self.client.append(lease.run, &request).await {
            Err(Refusal::No { code, .. }) if code == WITHDRAWN => {
                ear.forget(state);
                return Ok(());
            }
            answer => answer?,
        };
        if answer.next_seq > request.expected_seq {
            for event in &request.events {
                state.apply(event);
            }
            self.acks.add(Ack {
                run: lease.run,
                epoch: lease.epoch,
                seq: request.expected_seq,
                events: request.events,
            });
        }
        ear.tell(answer.signals);
        Ok(())
    }

    /// Makes a call, or asks a person about it. One that must not be made twice is written down before it is made.
    async fn work(&self, lease: &Lease, state: &RunState, pending: &PendingCall) -> Vec<EventBody> {
        let call = pending.call.id.clone();
        let started = |class| EventBody::ToolStarted {
            call: call.clone(),
            class,
        };
        let finished = |text: &str| EventBody::ToolFinished {
            result: ToolResult {
                call: call.clone(),
                text: text.to_owned(),
                is_error: false,
            },
            took_ms: 1,
        };
        if pending.call.name != BLAST {
            self.pass(10, 600).await;
            return vec![started(EffectClass::Pure), finished("done")];
        }
        match &pending.decision {
            Some(decision) if decision.choice == Some(Choice::Run) => {
                self.pass(10, 600).await;
                vec![started(EffectClass::NeedsApproval), finished("done")]
            }
            Some(_) => vec![finished("not done")],
            None => vec![EventBody::Asked {
                question: Question {
                    call: call.clone(),
                    text: format!("question {} of run {}", state.next_seq, lease.run),
                    options: vec![Choice::Run, Choice::Skip],
                },
                until: true_time() + PATIENCE,
            }],
        }
    }

    async fn pass(&self, shortest: u64, longest: u64) {
        let span: Duration = self.chance.draw(|chance| chance.between(shortest, longest));
        tokio::time::sleep(span).await;
    }
}
