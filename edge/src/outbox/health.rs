//! How sending by an integration fares: failures in a row are counted, and sending is paused when they last, or at once when
//! the integration itself is at fault. Paused, its effects wait; a person resumes it.
//!
//! Invariant: a pause loses nothing. What waits has a due time, and goes out in order once sending is resumed.

use std::time::Duration;

use roost_shared::{IntegrationId, UnixMillis, effect::Effect};

use super::channel::Outcome;
use crate::{
    db::{DbError, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// Sending is paused after so many failures in a row …
const FAILURES: u32 = 20;
/// … if the first of them is this long ago. Both: a burst in a short outage is no reason, nor are a few replies in a quiet
/// week; and one reply alone is given up before it counts so many.
const SUSTAINED: Duration = Duration::from_secs(3600);

/// What no other reply of the integration would survive either: sending is paused at once, and the effect waits.
const AT_FAULT: [&str; 7] = [
    "address_invalid",
    "address_private",
    "channel_unauthorized",
    "credential_missing",
    "integration_secret_unusable",
    "private_key_unusable",
    "secret_sealed",
];
/// What says nothing of the integration: the effect came too late, or was never for this channel.
const NOT_ITS_FAULT: [&str; 4] = [
    "effect_elsewhere",
    "integration_deleted",
    "reply_url_missing",
    "too_late",
];

/// What an outcome says of the integration.
enum Word<'a> {
    Well,
    Nothing,
    Failure { code: &'a str, reason: &'a str },
    AtFault { code: &'a str, reason: &'a str },
}

/// Whether the integration is at fault, and not the effect.
pub(super) fn is_at_fault(code: &str) -> bool {
    AT_FAULT.contains(&code)
}

fn word<'a>(effect: &Effect, outcome: &'a Outcome) -> Word<'a> {
    match outcome {
        Outcome::Failed { code, reason } if is_at_fault(code) => Word::AtFault { code, reason },
        // Signs of receipt may go out where replies don't, and the other way round; replies are what counts.
        _ if matches!(effect, Effect::Acknowledge { .. }) => Word::Nothing,
        Outcome::Sent { .. } => Word::Well,
        Outcome::Failed { code, .. } if NOT_ITS_FAULT.contains(code) => Word::Nothing,
        Outcome::Failed { code, reason } => Word::Failure { code, reason },
        // Who says when to come back is there.
        Outcome::Retry { after: Some(_), .. } => Word::Nothing,
        Outcome::Retry { reason, .. } => Word::Failure {
            code: "channel_unavailable",
            reason,
        },
        Outcome::Unknown { reason } => Word::Failure {
            code: "unknown_outcome",
            reason,
        },
    }
}

/// The statements that note an attempt's outcome; to be part of the batch that settles it.
pub(super) fn note(
    scope: &Scope,
    integration: IntegrationId,
    (effect, outcome): (&Effect, &Outcome),
    now: UnixMillis,
) -> Vec<Statement> {
    let (code, reason, pause_at_once) = match word(effect, outcome) {
        Word::Nothing => return Vec::new(),
        Word::Well => {
            let forget = "UPDATE senders SET failures = 0, failing_since = NULL WHERE workspace_id = ?1 \
                 AND integration_id = ?2 AND failures > 0";
            return vec![scope.sql(forget, [integration.into()])];
        }
        Word::Failure { code, reason } => (code, reason, None),
        Word::AtFault { code, reason } => (code, reason, Some(now)),
    };
    vec![
        scope.sql(
            "INSERT INTO senders (workspace_id, integration_id, failures, failing_since, code, reason, paused_at) \
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6) ON CONFLICT (integration_id) DO UPDATE SET failures = failures + 1, \
             failing_since = coalesce(failing_since, excluded.failing_since), code = excluded.code, \
             reason = excluded.reason, paused_at = coalesce(paused_at, excluded.paused_at)",
            [
                integration.into(),
                now.into(),
                code.into(),
                reason.into(),
                pause_at_once.into(),
            ],
        ),
        scope.sql(
            "UPDATE senders SET paused_at = ?3 WHERE workspace_id = ?1 AND integration_id = ?2 \
             AND paused_at IS NULL AND failures >= ?4 AND failing_since <= ?5",
            [
                integration.into(),
                now.into(),
                FAILURES.into(),
                (now - SUSTAINED).into(),
            ],
        ),
    ]
}

/// The statements that let an integration send again, and now; the last gives what goes out.
pub(crate) fn resumed(scope: &Scope, integration: IntegrationId, now: UnixMillis) -> [Statement; 2] {
    [
        scope.sql(
            "DELETE FROM senders WHERE workspace_id = ?1 AND integration_id = ?2",
            [integration.into()],
        ),
        scope.sql(
            "UPDATE effects SET due_at = ?3, updated_at = ?3 WHERE workspace_id = ?1 AND integration_id = ?2 \
             AND state = 'pending' AND due_at IS NOT NULL RETURNING id",
            [integration.into(), now.into()],
        ),
    ]
}

/// Lets an integration send again; how many effects waited.
///
/// # Errors
/// 404, or when the database fails.
pub(crate) async fn resume(edge: &Edge, scope: &Scope, integration: IntegrationId) -> Result<u64, ApiError> {
    let mut batch = vec![scope.guard(
        "not_found",
        "SELECT 1 FROM integrations WHERE workspace_id = ?1 AND id = ?2",
        [integration.into()],
    )];
    batch.extend(resumed(scope, integration, edge.now()));
    match scope.write(batch).await {
        Ok(results) => Ok(results.last().map_or(0, |rows| rows.len() as u64)),
        Err(DbError::Refused { .. }) => Err(ApiError::not_found("integration")),
        Err(error) => Err(error.into()),
    }
}
