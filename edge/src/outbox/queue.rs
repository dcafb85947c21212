//! The outbox's table: queue, claim, settle.

use std::time::Duration;

use roost_shared::{EffectId, IntegrationId, RunId, UnixMillis, effect::Effect};

use super::{channel::Outcome, next_attempt};
use crate::{
    db::{DbError, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// How long a claimed effect may take; channels are given 30 s.
const CLAIM: Duration = Duration::from_secs(60);
/// Effects claimed at once.
const CLAIM_LIMIT: u32 = 32;

/// An effect about to be queued.
pub(crate) struct Queued {
    pub(crate) id: EffectId,
    pub(crate) integration: IntegrationId,
    pub(crate) run: Option<RunId>,
    pub(crate) stream: String,
    pub(crate) idempotency_key: String,
    pub(crate) effect: Effect,
}

impl Queued {
    /// The statement that queues it; to be part of the batch of what causes it.
    pub(crate) fn insert(self, scope: &Scope, now: UnixMillis) -> Result<Statement, ApiError> {
        let effect = serde_json::to_string(&self.effect).map_err(|error| {
            ApiError::new(
                http::StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                error.to_string(),
            )
        })?;
        Ok(scope.sql(
            "INSERT INTO effects (workspace_id, id, integration_id, run_id, stream, idempotency_key, effect, state, \
             due_at, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?8, ?8)",
            [
                self.id.into(),
                self.integration.into(),
                self.run.into(),
                self.stream.into(),
                self.idempotency_key.into(),
                effect.into(),
                now.into(),
            ],
        ))
    }
}

/// An effect that is ours to send.
pub(super) struct Claimed {
    pub(super) id: EffectId,
    pub(super) integration: IntegrationId,
    pub(super) effect: Effect,
    pub(super) attempts: u32,
    pub(super) created_at: UnixMillis,
}

/// Claims what is due, the first of each stream; and settles as `unknown` what a dead sender left.
pub(super) async fn claim(edge: &Edge, scope: &Scope) -> Result<Vec<Claimed>, DbError> {
    let now = edge.now();
    let due = "SELECT 1 FROM effects WHERE workspace_id = ?1 AND due_at <= ?2 LIMIT 1";
    if scope.query(due, [now.into()]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let batch = vec![
        scope.sql(
            "UPDATE effects SET state = 'unknown', due_at = NULL, code = 'sender_died', \
             reason = 'the process that sent it ended before it heard the answer', updated_at = ?2 \
             WHERE workspace_id = ?1 AND state = 'sending' AND due_at <= ?2",
            [now.into()],
        ),
        scope.sql(
            "UPDATE effects SET state = 'sending', attempts = attempts + 1, due_at = ?3, updated_at = ?2 \
             WHERE id IN (SELECT e.id FROM effects e WHERE e.workspace_id = ?1 AND e.state = 'pending' \
             AND e.due_at <= ?2 AND NOT EXISTS (SELECT 1 FROM effects o WHERE o.stream = e.stream AND o.id < e.id \
             AND o.due_at IS NOT NULL) ORDER BY e.due_at LIMIT ?4) \
             RETURNING id, integration_id, effect, attempts, created_at",
            [now.into(), (now + CLAIM).into(), CLAIM_LIMIT.into()],
        ),
    ];
    let results = scope.write(batch).await?;
    results
        .get(1)
        .into_iter()
        .flatten()
        .map(|row| {
            Ok(Claimed {
                id: row.parse(0)?,
                integration: row.parse(1)?,
                effect: row.json(2)?,
                attempts: u32::try_from(row.unsigned(3)?).unwrap_or(u32::MAX),
                created_at: UnixMillis(row.integer(4)?),
            })
        })
        .collect()
}

/// Writes down how it went.
pub(super) async fn settle(
    edge: &Edge,
    scope: &Scope,
    claimed: &Claimed,
    outcome: Outcome,
) -> Result<(), DbError> {
    let (state, due_at, external_id, code, reason) = match outcome {
        Outcome::Sent { external_id } => ("sent", None, external_id, None, None),
        Outcome::Retry { after, reason } => (
            "pending",
            Some(next_attempt(edge, claimed.attempts, after)),
            None,
            None,
            Some(reason),
        ),
        Outcome::Failed { code, reason } => ("failed", None, None, Some(code), Some(reason)),
        Outcome::Unknown { reason } => ("unknown", None, None, Some("unknown_outcome"), Some(reason)),
    };
    let update = scope.sql(
        "UPDATE effects SET state = ?3, due_at = ?4, external_id = ?5, code = ?6, reason = ?7, updated_at = ?8 \
         WHERE workspace_id = ?1 AND id = ?2 AND state = 'sending' AND attempts = ?9",
        [
            claimed.id.into(),
            state.into(),
            due_at.into(),
            external_id.into(),
            code.into(),
            reason.into(),
            edge.now().into(),
            claimed.attempts.into(),
        ],
    );
    scope.write(vec![update]).await.map(drop)
}
