//! The outbox: effects, and one sender per channel.
//!
//! An effect's row is written in the transaction of what causes it. It is claimed (`sending`) before the call is made
//! and settled (`sent`, `failed`, back to `pending`, or `unknown`) after; one that is still `sending` when its time is
//! up belongs to a sender that died, and what became of the call is unknown. What is unknown is looked for in the
//! channel: it is there (`sent`), it is not (`pending`), or only a person can tell. Effects of one stream go out in order.

pub(crate) mod address;
mod call;
pub mod channel;
pub mod decide;
mod generic;
pub mod github;
pub(crate) mod health;
pub(crate) mod markdown;
pub(crate) mod pace;
pub mod queue;
mod settle;
pub mod split;
pub(crate) mod telegram;
mod unsent;

use std::{sync::Arc, time::Duration};

use self::{
    channel::{Outcome, Sending, Sight},
    queue::{Claimed, Task},
    unsent::Ticket,
};
use crate::{
    config::{Config, StoredIntegration},
    db::{DbError, Scope},
    edge::Edge,
    integration::Secrets,
    once,
};
use futures::{StreamExt, stream};
use roost_shared::{
    effect::Effect,
    fail_point::{self, FailPoint},
};

pub use channel::Senders;
pub(crate) use unsent::Unsent;

/// Calls made at the same time.
const PARALLEL: usize = 8;
/// Rounds of one call: effects that follow others in their stream go out in later rounds.
const ROUNDS: usize = 32;
/// An acknowledgement that is older than this tells nobody anything.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(60);

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
    once::soon(edge, scope, &edge.sending, |edge, scope| async move {
        if let Err(error) = send_due(&edge, &scope).await {
            tracing::warn!("effects are left for the next tick: {error}");
        }
    });
}

/// Sends what is due.
///
/// # Errors
/// When the database fails. What was claimed by then is given back the next time if it was not begun; else it is settled as
/// `unknown` when its time is up.
pub async fn send_due(edge: &Edge, scope: &Scope) -> Result<Sent, DbError> {
    edge.unsent.give_back(edge, scope).await?;
    let mut total = Sent::default();
    for _ in 0..ROUNDS {
        let ticket = Ticket::draw(edge);
        let claiming = claim(edge, scope, ticket).await;
        let Some((claimed, config)) = claiming.inspect_err(|_| edge.unsent.keep(scope, ticket))? else {
            break;
        };
        let config = &config;
        let settled: Vec<Result<Option<bool>, DbError>> = stream::iter(claimed)
            .map(|effect| attend(edge, scope, config, effect))
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for sent in settled {
            match sent? {
                Some(true) => total.sent += 1,
                Some(false) => total.failed += 1,
                None => {}
            }
        }
    }
    Ok(total)
}

/// Claims what is due, with the set-up it is sent by; nothing if nothing is due.
async fn claim(
    edge: &Edge,
    scope: &Scope,
    ticket: Ticket,
) -> Result<Option<(Vec<Claimed>, Arc<Config>)>, DbError> {
    let claimed = queue::claim(edge, scope, ticket).await?;
    if claimed.is_empty() {
        return Ok(None);
    }
    let config = edge.configs.reload(scope).await?;
    Ok(Some((claimed, config)))
}

/// Sends one effect or looks for it; whether it is known to have reached its channel, where that is known now.
async fn attend(
    edge: &Edge,
    scope: &Scope,
    config: &Config,
    effect: Claimed,
) -> Result<Option<bool>, DbError> {
    match effect.task {
        Task::Send => {
            let reach = |point| match effect.effect {
                Effect::Reply { .. } => fail_point::reach(point),
                // Twice is as good as once.
                Effect::Acknowledge { .. } => {}
            };
            reach(FailPoint::ReplyClaimed);
            let outcome = send(edge, config, &effect).await;
            let sent = matches!(outcome, Outcome::Sent { .. });
            reach(FailPoint::ReplyAnswered);
            settle::settle(edge, scope, &effect, outcome).await?;
            reach(FailPoint::ReplySettled);
            Ok(Some(sent))
        }
        Task::Look => {
            let sight = look(edge, config, &effect).await;
            let found = matches!(sight, Sight::Found { .. });
            settle::resolve(edge, scope, &effect, sight).await?;
            Ok(found.then_some(true))
        }
    }
}

async fn send(edge: &Edge, config: &Config, claimed: &Claimed) -> Outcome {
    let stale = matches!(claimed.effect, Effect::Acknowledge { .. })
        && edge.now().since(claimed.created_at) > ACKNOWLEDGE_WITHIN;
    if stale {
        return Outcome::Failed {
            code: "too_late",
            reason: "the acknowledgement could not be sent in time".into(),
        };
    }
    let (stored, secrets) = match open(edge, config, claimed) {
        Ok(opened) => opened,
        Err(outcome) => return outcome,
    };
    if edge.now() > claimed.begin_by {
        return Outcome::Retry {
            after: None,
            reason: "its turn came too late to send it safely".into(),
        };
    }
    match channel::send(&sending(edge, stored, &secrets, claimed), &claimed.effect).await {
        Outcome::Retry { reason, .. } if claimed.tries >= pace::ATTEMPTS => Outcome::Failed {
            code: "gave_up",
            reason: format!("gave up after {} attempts: {reason}", claimed.tries),
        },
        outcome => outcome,
    }
}

async fn look(edge: &Edge, config: &Config, claimed: &Claimed) -> Sight {
    match open(edge, config, claimed) {
        Ok((stored, secrets)) => {
            let sending = sending(edge, stored, &secrets, claimed);
            channel::look(&sending, &claimed.effect, claimed.tried_at).await
        }
        Err(outcome) => outcome.into_sight(),
    }
}

/// The effect's integration and its secrets.
fn open<'a>(
    edge: &Edge,
    config: &'a Config,
    claimed: &Claimed,
) -> Result<(&'a StoredIntegration, Secrets), Outcome> {
    let stored = config.by_id(claimed.integration).ok_or_else(|| Outcome::Failed {
        code: "integration_deleted",
        reason: "the integration was deleted".into(),
    })?;
    let secrets = stored.open(&edge.sealer).map_err(|error| Outcome::Failed {
        code: "secret_sealed",
        reason: error.to_string(),
    })?;
    Ok((stored, secrets))
}

fn sending<'a>(
    edge: &'a Edge,
    stored: &'a StoredIntegration,
    secrets: &'a Secrets,
    claimed: &Claimed,
) -> Sending<'a> {
    Sending {
        ports: &edge.ports,
        integration: &stored.integration,
        secrets,
        effect: claimed.id,
        senders: &edge.senders,
        private_addresses: edge.settings.private_addresses,
    }
}
