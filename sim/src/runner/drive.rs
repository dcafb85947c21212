//! Driving one run: the fold says what comes next, a scripted model answers, and every step is journaled.
//!
//! Invariant: what is done next follows from the journal alone, so any runner goes on where another stopped; nothing is done
//! under a lease after an append under it was refused.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use roost_shared::{
    MicroUsd, SignalId,
    effect::EffectClass,
    event::EventBody,
    run::{Next, RunState},
    transcript::{Answer, Block, StopReason, ToolCall, ToolResult, Usage},
    wire::{AppendRequest, Lease, Signal, SignalBody},
};
use serde_json::json;

use super::client::{Client, Refusal};
use crate::{
    chance::SharedChance,
    history::{Ack, Acks},
    trace::Trace,
};

/// What a driven run was told and has not taken in. Clones are the same ear.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Vec<Signal>>>);

impl Ear {
    /// Tells it something; what it was told before is nothing new.
    pub fn tell(&self, signals: impl IntoIterator<Item = Signal>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in signals {
            if !told.contains(&signal) {
                told.push(signal);
            }
        }
    }

    /// The signals it was told.
    pub fn heard(&self) -> Vec<SignalId> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().map(|signal| signal.id).collect()
    }

    /// The events that take in what `state` has not.
    fn taken_in(&self, state: &RunState) -> Vec<EventBody> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = told.iter().filter(|signal| !state.has_heard(signal.id));
        fresh
            .filter_map(|signal| match &signal.body {
                SignalBody::Steer { change, work_item } => Some(EventBody::Steered {
                    signal: signal.id,
                    change: *change,
                    work_item: work_item.clone(),
                }),
                // Nobody here sends the others.
                SignalBody::Cancel { .. } | SignalBody::Pause { .. } | SignalBody::Answer { .. } => None,
            })
            .collect()
    }
}

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
            let events = match ear.taken_in(&state) {
                told if !told.is_empty() => told,
                _ => match state.next() {
                    Next::CallModel => self.ask_model(&state).await,
                    Next::RunTools(calls) => {
                        let call = &calls[0].call;
                        self.pass(10, 600).await;
                        vec![
                            EventBody::ToolStarted {
                                call: call.id.clone(),
                                class: EffectClass::Pure,
                            },
                            EventBody::ToolFinished {
                                result: ToolResult {
                                    call: call.id.clone(),
                                    text: "done".to_owned(),
                                    is_error: false,
                                },
                                took_ms: 1,
                            },
                        ]
                    }
                    Next::Complete(text) | Next::Refused(text) => {
                        vec![EventBody::Completed { reply: Some(text) }]
                    }
                    Next::Compact | Next::Rest => return,
                },
            };
            match self.append(&lease, &mut state, events).await {
                Ok(signals) => ear.tell(signals),
                Err(refusal) => {
                    let stopped = format!("run {} epoch {} stops: {refusal}", lease.run, lease.epoch);
                    return self.trace.note(&self.host, &stopped);
                }
            }
        }
    }

    /// Writes the events, unless there is something the run has to hear first.
    async fn append(
        &self,
        lease: &Lease,
        state: &mut RunState,
        events: Vec<EventBody>,
    ) -> Result<Vec<Signal>, Refusal> {
        let request = AppendRequest {
            epoch: lease.epoch,
            expected_seq: state.next_seq,
            events,
        };
        let answer = self.client.append(lease.run, &request).await?;
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
        Ok(answer.signals)
    }

    async fn pass(&self, shortest: u64, longest: u64) {
        let span: Duration = self.chance.draw(|chance| chance.between(shortest, longest));
        tokio::time::sleep(span).await;
    }

    /// Two turns with tools, then the reply, which names its run.
    async fn ask_model(&self, state: &RunState) -> Vec<EventBody> {
        self.pass(50, 1_500).await;
        let (blocks, stop) = if state.turns < 2 {
            let call = |place: u32| {
                Block::ToolCall(ToolCall {
                    id: format!("t{}-{place}", state.turns),
                    name: "look".to_owned(),
                    input: json!({}),
                })
            };
            (vec![call(0), call(1)], StopReason::ToolUse)
        } else {
            let text = format!("answer to {}", state.work_item.id);
            (vec![Block::Text { text }], StopReason::EndTurn)
        };
        vec![EventBody::ModelAnswered(Answer {
            model: "scripted".to_owned(),
            blocks,
            stop,
            usage: Usage::default(),
            cost: MicroUsd::default(),
            request_id: None,
            first_byte_ms: 1,
            took_ms: 1,
        })]
    }
}
