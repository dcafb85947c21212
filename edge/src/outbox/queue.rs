//! The outbox's table: effects are queued in it, and claimed from it.
//!
//! Invariant: an attempt and a look are claimed by a number of their own, under which alone they are
//! [settled](super::settle); of each stream only the first that is not settled is claimed.

use std::time::Duration;

use roost_shared::{EffectId, IntegrationId, RunId, UnixMillis, effect::Effect};

use super::unsent::Ticket;
use crate::{
    db::{DbError, Row, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// Effects claimed at once.
const CLAIM_LIMIT: u32 = 32;
/// How long what can't be sent now (its integration is disabled, or its sending paused) waits before it is asked again.
pub(super) const HOLD: Duration = Duration::from_secs(60);

/// Why the outcome of an attempt is unknown whose claim ran out.
const SENDER_DIED: &str = "sender_died";

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

/// An effect that is ours to send, or to look for.
pub(super) struct Claimed {
    pub(super) id: EffectId,
    pub(super) integration: IntegrationId,
    pub(super) effect: Effect,
    pub(super) task: Task,
    /// All attempts there have been, this one included.
    pub(super) attempts: u32,
    /// Those since a person last had it sent again.
    pub(super) tries: u32,
    pub(super) looks: u32,
    pub(super) missed: u32,
    pub(super) tried_at: UnixMillis,
    pub(super) created_at: UnixMillis,
    /// Until when sending it may begin. Later its claim may run out under the call: others would take it for unknown,
    /// look for it, not find it and send it, too.
    pub(super) begin_by: UnixMillis,
    /// Why its outcome is unknown.
    pub(super) doubt: Option<String>,
}

/// What is to be done with a claimed effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Send it.
    Send,
    /// See whether it is there.
    Look,
}

/// The integrations that send nothing now: disabled, or paused.
macro_rules! held {
    () => {
        "SELECT id FROM integrations WHERE workspace_id = ?1 AND enabled = 0 \
         UNION ALL SELECT integration_id FROM senders WHERE workspace_id = ?1 AND paused_at IS NOT NULL"
    };
}

/// Claims what is due, the first of each stream. What a dead sender left is from then on unknown; what may not be sent
/// now is put off. However much is due, it looks at little more than it claims.
pub(super) async fn claim(edge: &Edge, scope: &Scope, ticket: Ticket) -> Result<Vec<Claimed>, DbError> {
    let now = edge.now();
    let looks = scope
        .read(vec![
            scope.sql(
                "SELECT 1 FROM effects WHERE workspace_id = ?1 AND due_at <= ?2 LIMIT 1",
                [now.into()],
            ),
            scope.sql(held!(), []),
        ])
        .await?;
    let [due, held] = looks.as_slice() else {
        return Err(DbError::Sql("the database answered with too few results".into()));
    };
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let claim = scope.sql(
        concat!(
            "UPDATE effects SET state = CASE state WHEN 'pending' THEN 'sending' ELSE 'unknown' END, \
             attempts = attempts + (state = 'pending'), claim = CASE state WHEN 'pending' THEN ?6 END, \
             looks = CASE state WHEN 'sending' THEN 1 WHEN 'unknown' THEN looks + 1 ELSE looks END, \
             missed = CASE state WHEN 'sending' THEN 0 ELSE missed END, \
             code = CASE state WHEN 'sending' THEN ?5 ELSE code END, \
             reason = CASE state WHEN 'sending' THEN 'the process that sent it ended before it heard the answer' \
             ELSE reason END, tried_at = coalesce(tried_at, ?2), due_at = ?3, updated_at = ?2 \
             WHERE id IN (SELECT e.id FROM effects e WHERE e.workspace_id = ?1 AND e.due_at <= ?2 \
             AND e.integration_id NOT IN (",
            held!(),
            ") AND NOT EXISTS (SELECT 1 FROM effects o WHERE o.stream = e.stream AND o.id < e.id \
             AND o.due_at IS NOT NULL) ORDER BY e.due_at, e.id LIMIT ?4 + 0) \
             RETURNING id, integration_id, effect, state, attempts, replayed_after, looks, missed, tried_at, \
             created_at, reason"
        ),
        [
            now.into(),
            ticket.until.into(),
            CLAIM_LIMIT.into(),
            SENDER_DIED.into(),
            ticket.number.into(),
        ],
    );
    let put_off = scope.sql(
        concat!(
            "UPDATE effects SET due_at = ?3 WHERE workspace_id = ?1 AND due_at <= ?2 AND integration_id IN (",
            held!(),
            ")"
        ),
        [now.into(), (now + HOLD).into()],
    );
    // Only where something is held: it looks at all that is due.
    let put_off = (!held.is_empty()).then_some(put_off);
    let results = scope
        .write([Some(claim), put_off].into_iter().flatten().collect())
        .await?;
    let begin_by = now + edge.settings.send_within / 2;
    let rows = results.first().into_iter().flatten();
    rows.map(|row| claimed(row, begin_by)).collect()
}

fn claimed(row: &Row, begin_by: UnixMillis) -> Result<Claimed, DbError> {
    let number = |column| {
        row.unsigned(column)
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    let attempts = number(4)?;
    Ok(Claimed {
        id: row.parse(0)?,
        integration: row.parse(1)?,
        effect: row.json(2)?,
        task: if row.text(3)? == "unknown" {
            Task::Look
        } else {
            Task::Send
        },
        attempts,
        tries: attempts.saturating_sub(number(5)?),
        looks: number(6)?,
        missed: number(7)?,
        tried_at: UnixMillis(row.integer(8)?),
        created_at: UnixMillis(row.integer(9)?),
        begin_by,
        doubt: row.optional_text(10)?.map(str::to_owned),
    })
}
