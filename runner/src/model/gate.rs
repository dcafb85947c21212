//! The gate before each model: what one run learns of its limit, all know.
//!
//! Invariant: between a refusal for the rate and the moment the provider named, nobody of this process asks that model; after
//! it, one asks first, and the others follow when the model has begun to answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How long a gate stays shut where the provider names no time; doubles with every refusal in a row.
const UNNAMED: Duration = Duration::from_secs(1);
/// Not longer than this.
const LONGEST_UNNAMED: Duration = Duration::from_secs(60);

/// The gates of all models, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Gates(Arc<Mutex<HashMap<String, Gate>>>);

#[derive(Debug, Default)]
struct Gate {
    /// Set from a refusal until the model answers again.
    shut_until: Option<Instant>,
    /// Somebody asks first.
    probing: bool,
    /// Refusals in a row.
    refusals: u32,
    /// Rings when `probing` ends.
    changed: Arc<Notify>,
}

/// The right to ask a model once. Dropped without a word, it says nothing of the limit.
#[derive(Debug)]
pub(super) struct Pass {
    gates: Gates,
    model: String,
    probes: bool,
}

impl Gates {
    /// Waits for the right to ask `model`.
    ///
    /// # Errors
    /// The time for which the gate is still shut.
    pub(super) async fn enter(&self, model: &str) -> Result<Pass, Duration> {
        loop {
            let changed = {
                let mut gates = self.lock();
                let gate = gates.entry(model.to_owned()).or_default();
                let now = Instant::now();
                match gate.shut_until {
                    None => return Ok(self.pass(model, false)),
                    Some(until) if until > now => return Err(until - now),
                    Some(_) if !gate.probing => {
                        gate.probing = true;
                        return Ok(self.pass(model, true));
                    }
                    Some(_) => {
                        // Listens from here on, so that no change is missed.
                        let mut changed = Box::pin(gate.changed.clone().notified_owned());
                        changed.as_mut().enable();
                        changed
                    }
                }
            };
            changed.await;
        }
    }

    fn pass(&self, model: &str, probes: bool) -> Pass {
        Pass {
            gates: self.clone(),
            model: model.to_owned(),
            probes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Gate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The model answers: who asked first opens the gate. Who entered before it was shut learns nothing by getting through.
    pub(super) fn open(mut self) {
        if self.probes {
            self.end(|gate| {
                gate.shut_until = None;
                gate.refusals = 0;
            });
        }
    }

    /// The model refuses for its rate: the gate is shut for as long as the provider says.
    pub(super) fn shut(mut self, named: Option<Duration>) {
        self.end(|gate| {
            let unnamed = UNNAMED * 2u32.pow(gate.refusals.min(6));
            let until = Instant::now() + named.unwrap_or(unnamed.min(LONGEST_UNNAMED));
            gate.shut_until = gate.shut_until.max(Some(until));
            gate.refusals += 1;
        });
    }

    fn end(&mut self, change: impl FnOnce(&mut Gate)) {
        let mut gates = self.gates.lock();
        let gate = gates.entry(std::mem::take(&mut self.model)).or_default();
        change(gate);
        if std::mem::take(&mut self.probes) {
            gate.probing = false;
            gate.changed.notify_waiters();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probes {
            self.end(|_| {});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until the gate is no longer shut.
    async fn opened(gates: &Gates) -> Pass {
        loop {
            match gates.enter("m").await {
                Ok(pass) => return pass,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    #[tokio::test]
    async fn one_asks_first_and_the_others_follow_when_it_is_answered() {
        let gates = Gates::default();
        let early = gates.enter("m").await.unwrap();
        let span = Duration::from_millis(40);
        gates.enter("m").await.unwrap().shut(Some(span));
        assert!(gates.enter("m").await.unwrap_err() <= span);
        early.open();
        assert!(gates.enter("m").await.is_err(), "that was asked before the limit");
        assert!(gates.enter("other").await.is_ok());

        let probe = opened(&gates).await;
        let follow = |gates: &Gates| {
            let gates = gates.clone();
            tokio::spawn(async move { gates.enter("m").await })
        };
        let waiting = follow(&gates);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        // One that gives up lets the next one ask first.
        drop(probe);
        let probe = waiting.await.unwrap().unwrap();
        let waiting = follow(&gates);
        tokio::task::yield_now().await;
        probe.shut(None);
        let wait = waiting.await.unwrap().unwrap_err();
        assert!(
            wait > UNNAMED && wait <= UNNAMED * 2,
            "the second refusal: {wait:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_opens_the_gate_for_all() {
        let gates = Gates::default();
        gates
            .enter("m")
            .await
            .unwrap()
            .shut(Some(Duration::from_millis(5)));
        opened(&gates).await.open();
        let (one, two) = (gates.enter("m").await, gates.enter("m").await);
        assert!(one.is_ok() && two.is_ok());
    }
}
