//! What the API says of runs, effects and deliveries, as far as people are shown it; docs/reference/api.md has it whole.

use roost_shared::{
    DeliveryId, EffectId, MicroUsd, RunId, UnixMillis, effect::Effect, question::Question, run::Phase,
    work::Trust,
};
use serde::Deserialize;

/// A run of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) phase: String,
    pub(super) waits: Option<String>,
    pub(super) agent: Agent,
    pub(super) conversation: Conversation,
    pub(super) asked: Asked,
    pub(super) turns: u64,
    pub(super) cost: MicroUsd,
    pub(super) tokens: u64,
    pub(super) outcome: Option<String>,
    pub(super) runner: Option<String>,
    pub(super) epoch: u64,
    pub(super) created_at: UnixMillis,
    pub(super) updated_at: UnixMillis,
}

#[derive(Debug, Deserialize)]
pub(super) struct Agent {
    pub(super) handle: String,
    pub(super) version: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Conversation {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) url: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) by: String,
    pub(super) trust: Trust,
    pub(super) excerpt: String,
}

/// A run, whole.
#[derive(Debug, Deserialize)]
pub(super) struct RunDetail {
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) cancel_asked_by: Option<String>,
    pub(super) pause_asked_by: Option<String>,
    pub(super) question: Option<Question>,
    pub(super) effects: Vec<EffectRow>,
}

/// An effect.
#[derive(Debug, Deserialize)]
pub(super) struct EffectRow {
    pub(super) id: EffectId,
    pub(super) run: Option<RunId>,
    pub(super) effect: Effect,
    pub(super) state: String,
    pub(super) waits_for_person: bool,
    pub(super) attempts: u64,
    pub(super) due_at: Option<UnixMillis>,
    pub(super) external_id: Option<String>,
    pub(super) code: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) created_at: UnixMillis,
}

/// A delivery of a list.
#[derive(Debug, Deserialize)]
pub(super) struct DeliveryRow {
    pub(super) id: DeliveryId,
    pub(super) integration: Integration,
    pub(super) verdict: String,
    pub(super) event: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) runs: Vec<RunId>,
    pub(super) received_at: UnixMillis,
}

#[derive(Debug, Deserialize)]
pub(super) struct Integration {
    pub(super) name: String,
}

/// What a replay of a delivery came to.
#[derive(Debug, Deserialize)]
pub(super) struct Replayed {
    pub(super) delivery: DeliveryId,
    pub(super) runs: Vec<RunId>,
    pub(super) reason: Option<String>,
}

impl Run {
    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        Phase::from_name(&self.phase).is_some_and(Phase::is_terminal)
    }

    /// Where it stands: `running`, `waiting: paused`, `failed: model_key_refused`.
    pub(super) fn state(&self) -> String {
        let more = match self.phase.as_str() {
            "waiting" => self.waits.as_deref(),
            "failed" => self.outcome.as_deref(),
            _ => None,
        };
        match more {
            Some(more) => format!("{}: {more}", self.phase),
            None => self.phase.clone(),
        }
    }
}

impl EffectRow {
    /// What is to become visible.
    pub(super) fn said(&self) -> &str {
        match &self.effect {
            Effect::Acknowledge { .. } => "(sign of receipt)",
            Effect::Reply { text, .. } => text,
        }
    }

    /// How it stands: `sent`, `unknown: asks you`, `failed: channel_gone`.
    pub(super) fn standing(&self) -> String {
        match (&self.code, self.waits_for_person) {
            (_, true) => format!("{}: asks you", self.state),
            (Some(code), _) => format!("{}: {code}", self.state),
            (None, _) => self.state.clone(),
        }
    }
}
