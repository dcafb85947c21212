//! What a driven run was told from outside: what it takes in between two steps, and what breaks it off.
//!
//! Invariant: what was told is acted upon once, however often it is told; what was taken back is forgotten, and told again if
//! it stands.

use std::sync::{Arc, Mutex, PoisonError};

use roost_shared::{
    SignalId, UnixMillis,
    event::EventBody,
    question::PATIENCE,
    run::RunState,
    wire::{Signal, SignalBody},
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

    /// Forgets what it was told and `state` has not: some of it was taken back.
    pub fn forget(&self, state: &RunState) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|signal| state.has_heard(signal.id));
    }

    /// The event that breaks the run off, if somebody wants that.
    pub fn interrupted(&self, now: UnixMillis) -> Option<EventBody> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cancelled = told.iter().find_map(|signal| match &signal.body {
            SignalBody::Cancel { by } => Some(EventBody::Cancelled {
                by: by.clone(),
                reason: None,
            }),
            _ => None,
        });
        cancelled.or_else(|| {
            told.iter().find_map(|signal| match &signal.body {
                SignalBody::Pause { by } => Some(EventBody::Paused {
                    by: by.clone(),
                    until: now + PATIENCE,
                }),
                _ => None,
            })
        })
    }

    /// The events that take in what `state` has not.
    pub fn taken_in(&self, state: &RunState) -> Vec<EventBody> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.take_in(told.iter())
    }
}
