//! Reading and writing journals: the rows, pages of them, and the history a run begins with.

use roost_shared::{
    PollId, RunId, UnixMillis,
    event::{Event, EventBody},
    wire::Exchange,
    work::WorkItem,
};
use serde::Deserialize;

use crate::db::{DbError, Row, Scope, Statement};

/// Events in one page.
const PAGE: u32 = 500;
/// Earlier runs of a lane that a run remembers.
const HISTORY: u32 = 20;

/// One event, written.
pub(crate) fn insert(
    scope: &Scope,
    run: RunId,
    seq: u64,
    epoch: u64,
    at: UnixMillis,
    body: &EventBody,
) -> Statement {
    scope.sql(
        "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        [
            run.into(),
            seq.into(),
            epoch.into(),
            at.into(),
            serde_json::to_string(body).unwrap_or_default().into(),
        ],
    )
}

/// The event in the columns `seq, epoch, at, body` from `first` on.
pub(crate) fn event(row: &Row, first: usize) -> Result<Event, DbError> {
    Ok(Event {
        seq: row.unsigned(first)?,
        epoch: row.unsigned(first + 1)?,
        at: UnixMillis(row.integer(first + 2)?),
        body: row.json(first + 3)?,
    })
}

/// A run's events from `from` on, at most a page of them.
///
/// # Errors
/// When the database fails.
pub async fn page(scope: &Scope, run: RunId, from: u64) -> Result<Vec<Event>, DbError> {
    let rows = scope
        .query(
            "SELECT seq, epoch, at, body FROM events WHERE workspace_id = ?1 AND run_id = ?2 AND seq >= ?3 \
             ORDER BY seq LIMIT ?4 + 0",
            [run.into(), from.into(), PAGE.into()],
        )
        .await?;
    rows.iter().map(|row| event(row, 0)).collect()
}

/// For every run a lease took, the latest ended runs before it in its lane: what was said, and the reply.
pub(super) fn history(scope: &Scope, lease: PollId) -> Statement {
    scope.sql(
        "SELECT run, earlier, opened, reply FROM (SELECT r.id AS run, o.id AS earlier, e.body AS opened, \
         CASE o.phase WHEN 'completed' THEN o.outcome END AS reply, \
         row_number() OVER (PARTITION BY r.id ORDER BY o.id DESC) AS age \
         FROM runs r JOIN runs o ON o.agent_id = r.agent_id AND o.conversation_id = r.conversation_id \
         AND o.id < r.id AND o.phase IN ('completed', 'failed', 'cancelled') \
         JOIN events e ON e.run_id = o.id AND e.seq = 0 \
         WHERE r.workspace_id = ?1 AND r.lease_id = ?2) WHERE age <= ?3 ORDER BY run, earlier",
        [lease.into(), HISTORY.into()],
    )
}

/// What a run remembers, of the rows of [`history`].
pub(super) fn exchanges_of(run: RunId, history: &[Row]) -> Result<Vec<Exchange>, DbError> {
    let run = run.to_string();
    let of_run = |row: &&Row| row.text(0).is_ok_and(|id| id == run);
    history
        .iter()
        .filter(of_run)
        .map(|row| exchange(row, 1))
        .collect()
}

/// The exchange in the columns `run, opened event, reply` from `first` on.
fn exchange(row: &Row, first: usize) -> Result<Exchange, DbError> {
    #[derive(Deserialize)]
    struct Opened {
        work_item: WorkItem,
    }
    let opened: Opened = row.json(first + 1)?;
    Ok(Exchange {
        run: row.parse(first)?,
        actor: opened.work_item.actor,
        text: opened.work_item.text,
        reply: row.optional_text(first + 2)?.map(str::to_owned),
        at: opened.work_item.received_at,
    })
}
