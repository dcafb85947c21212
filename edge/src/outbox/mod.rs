//! The outbox: effects, and one sender per channel.
//!
//! An effect's row is written in the transaction of what causes it. It is claimed (`sending`) before the call is made
//! and settled (`sent`, `failed`, back to `pending`, or `unknown`) after; one that is still `sending` when its time is
//! up belongs to a sender that died, and what became of the call is unknown. Effects of one stream go out in order.

pub(crate) mod address;
mod call;
pub mod channel;
mod generic;
pub mod github;
mod markdown;
pub mod queue;
pub mod split;
mod telegram;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use roost_shared::UnixMillis;

use self::{
    channel::{Outcome, Sending},
    queue::Claimed,
};
use crate::{
    config::Config,
    db::{DbError, Scope},
    edge::Edge,
};

pub use channel::Senders;

/// Calls made at the same time.
const PARALLEL: usize = 8;
/// Rounds of one call: effects that follow others in their stream go out in later rounds.
const ROUNDS: usize = 32;
/// An acknowledgement that is older than this tells nobody anything.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(60);
/// How often an effect is tried before it is given up.
const ATTEMPTS: u32 = 12;

/// What a round of sending came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Effects that reached their channel.
    pub sent: u32,
    /// Effects that did not.
    pub failed: u32,
}

/// Sends what is due, after the response to whatever made it due.
pub(crate) fn send_soon(edge: &Arc<Edge>, scope: &Scope) {
    let Some(mut turn) = edge.sending.begin(scope.workspace()) else {
        return;
    };
    let (edge, scope) = (edge.clone(), scope.clone());
    let background = edge.ports.background.clone();
    background.spawn(Box::pin(async move {
        while turn.again() {
            if let Err(error) = send_due(&edge, &scope).await {
                tracing::warn!("effects are left for the next tick: {error}");
            }
        }
    }));
}

/// Sends what is due.
///
/// # Errors
/// When the database fails; what was claimed by then is settled as `unknown` when its time is up.
pub async fn send_due(edge: &Edge, scope: &Scope) -> Result<Sent, DbError> {
    let mut total = Sent::default();
    for _ in 0..ROUNDS {
        let claimed = queue::claim(edge, scope).await?;
        if claimed.is_empty() {
            break;
        }
        let config = edge.configs.reload(scope).await?;
        let config = &config;
        let settled: Vec<Result<bool, DbError>> = stream::iter(claimed)
            .map(|effect| async move {
                let outcome = send(edge, config, &effect).await;
                let sent = matches!(outcome, Outcome::Sent { .. });
                queue::settle(edge, scope, &effect, outcome).await?;
                Ok(sent)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for sent in settled {
            if sent? {
                total.sent += 1;
            } else {
                total.failed += 1;
            }
        }
    }
    Ok(total)
}

async fn send(edge: &Edge, config: &Config, claimed: &Claimed) -> Outcome {
    let stale = matches!(claimed.effect, roost_shared::effect::Effect::Acknowledge { .. })
        && edge.now().since(claimed.created_at) > ACKNOWLEDGE_WITHIN;
    if stale {
        return Outcome::Failed {
            code: "too_late",
            reason: "the acknowledgement could not be sent in time".into(),
        };
    }
    let Some(stored) = config.by_id(claimed.integration) else {
        return Outcome::Failed {
            code: "integration_deleted",
            reason: "the integration was deleted".into(),
        };
    };
    if !stored.integration.enabled {
        let reason = "the integration is disabled; enable it in the admin".to_owned();
        return Outcome::Retry {
            after: Some(Duration::from_secs(60)),
            reason,
        };
    }
    let secrets = match stored.open(&edge.sealer) {
        Ok(secrets) => secrets,
        Err(error) => {
            return Outcome::Failed {
                code: "secret_sealed",
                reason: error.to_string(),
            };
        }
    };
    let sending = Sending {
        ports: &edge.ports,
        integration: &stored.integration,
        secrets: &secrets,
        effect: claimed.id,
        senders: &edge.senders,
        private_addresses: edge.settings.private_addresses,
    };
    match channel::send(&sending, &claimed.effect).await {
        Outcome::Retry { reason, .. } if claimed.attempts >= ATTEMPTS => Outcome::Failed {
            code: "gave_up",
            reason: format!("gave up after {ATTEMPTS} attempts: {reason}"),
        },
        outcome => outcome,
    }
}

/// When to try again after `attempts`: 2 s, 4 s, 8 s, … up to an hour, and up to a tenth more so that many don't come
/// at once; never before the channel said.
fn next_attempt(edge: &Edge, attempts: u32, after: Option<Duration>) -> UnixMillis {
    let pause = Duration::from_secs(1 << attempts.clamp(1, 11)).min(Duration::from_secs(3600));
    let mut byte = [0];
    edge.ports.random.fill(&mut byte);
    let pause = pause.max(after.unwrap_or_default());
    edge.now() + pause + pause * u32::from(byte[0]) / 2560
}
