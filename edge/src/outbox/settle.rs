//! How attempts and looks are written down.
//!
//! Invariant: only under the number they were claimed by; so whoever comes too late, because the claim ran out or a person
//! decided otherwise, changes nothing. Only certainty that comes late is still taken.

use roost_shared::UnixMillis;

use super::{
    channel::{Outcome, Sight},
    health, pace,
    queue::{Claimed, HOLD},
};
use crate::{
    db::{DbError, Scope},
    edge::Edge,
};

/// Writes down how an attempt went. What is certain is taken also after the claim ran out, as long as there has been no
/// other attempt.
pub(super) async fn settle(
    edge: &Edge,
    scope: &Scope,
    claimed: &Claimed,
    outcome: Outcome,
) -> Result<(), DbError> {
    let now = edge.now();
    let mut batch = health::note(scope, claimed.integration, (&claimed.effect, &outcome), now);
    let before = claimed.attempts - claimed.tries;
    let settled = match outcome {
        Outcome::Sent { external_id } => Settled {
            external_id,
            ..Settled::new("sent", before)
        },
        Outcome::Retry { after, reason } => Settled {
            due_at: Some(pace::next_attempt(edge, claimed.tries, after)),
            ..Settled::new("pending", before).because(None, reason)
        },
        // Its integration's sending is paused by now: it waits with the others, and this attempt does not count.
        Outcome::Failed { code, reason } if health::is_at_fault(code) => Settled {
            due_at: Some(now + HOLD),
            ..Settled::new("pending", claimed.attempts).because(Some(code), reason)
        },
        Outcome::Failed { code, reason } => Settled::new("failed", before).because(Some(code), reason),
        Outcome::Unknown { reason } => Settled {
            due_at: Some(pace::first_look(edge)),
            taken_in: IN_TIME,
            ..Settled::new("unknown", before).because(Some("unknown_outcome"), reason)
        },
    };
    batch.push(scope.sql(
        "UPDATE effects SET state = ?3, due_at = ?4, external_id = ?5, code = ?6, reason = ?7, updated_at = ?8, \
         looks = 0, missed = 0, replayed_after = ?11 WHERE workspace_id = ?1 AND id = ?2 AND attempts = ?9 \
         AND instr(?10, state)",
        [
            claimed.id.into(),
            settled.state.into(),
            settled.due_at.into(),
            settled.external_id.into(),
            settled.code.into(),
            settled.reason.into(),
            now.into(),
            claimed.attempts.into(),
            settled.taken_in.into(),
            settled.not_counted.into(),
        ],
    ));
    scope.write(batch).await.map(drop)
}

/// What an attempt came to, as its row tells it.
struct Settled {
    state: &'static str,
    due_at: Option<UnixMillis>,
    external_id: Option<String>,
    code: Option<&'static str>,
    reason: Option<String>,
    /// The states in which it is taken.
    taken_in: &'static str,
    /// Attempts that don't count towards giving up.
    not_counted: u32,
}

impl Settled {
    fn new(state: &'static str, not_counted: u32) -> Self {
        Self {
            state,
            due_at: None,
            external_id: None,
            code: None,
            reason: None,
            taken_in: LATE,
            not_counted,
        }
    }

    fn because(self, code: Option<&'static str>, reason: String) -> Self {
        Self {
            code,
            reason: Some(reason),
            ..self
        }
    }
}

/// The states in which an attempt's outcome is taken: its own, and those that others may have put it in since.
const IN_TIME: &str = "sending";
const LATE: &str = "sending unknown pending";

/// Writes down what was seen of an effect of unknown outcome.
pub(super) async fn resolve(
    edge: &Edge,
    scope: &Scope,
    claimed: &Claimed,
    sight: Sight,
) -> Result<(), DbError> {
    let now = edge.now();
    let doubt = claimed
        .doubt
        .as_deref()
        .unwrap_or("nobody knows whether it arrived");
    let asks = |why: String| ("unknown", None, None, Some(format!("{doubt}; {why}")));
    let missed = claimed.missed + u32::from(sight == Sight::Missing);
    let (state, due_at, external_id, reason) = match sight {
        Sight::Found { external_id } => ("sent", None, external_id, None),
        Sight::Harmless => ("pending", Some(now), None, claimed.doubt.clone()),
        Sight::Missing if missed < pace::MISSED_LOOKS => (
            "unknown",
            Some(pace::next_look(edge)),
            None,
            claimed.doubt.clone(),
        ),
        Sight::Missing if claimed.tries >= pace::ATTEMPTS => asks(format!(
            "it was not there after {} attempts: check the channel, then send it again or drop it",
            claimed.tries
        )),
        Sight::Missing => (
            "pending",
            Some(pace::next_attempt(edge, claimed.tries, None)),
            None,
            Some(format!(
                "{doubt}; it was looked for and is not there, so it is sent again"
            )),
        ),
        Sight::Later { after, .. } if claimed.looks < pace::LOOKS => (
            "unknown",
            Some(pace::next_attempt(edge, claimed.looks, after)),
            None,
            claimed.doubt.clone(),
        ),
        Sight::Later { reason, .. } => asks(format!("it can't be looked for ({reason}): look yourself")),
        Sight::Blind { reason } => asks(reason),
    };
    let update = scope.sql(
        "UPDATE effects SET state = ?3, due_at = ?4, external_id = ?5, reason = ?6, missed = ?7, updated_at = ?8, \
         code = CASE ?3 WHEN 'unknown' THEN code END WHERE workspace_id = ?1 AND id = ?2 \
         AND state = 'unknown' AND attempts = ?9 AND looks = ?10",
        [
            claimed.id.into(),
            state.into(),
            due_at.into(),
            external_id.into(),
            reason.into(),
            missed.into(),
            now.into(),
            claimed.attempts.into(),
            claimed.looks.into(),
        ],
    );
    scope.write(vec![update]).await.map(drop)
}
