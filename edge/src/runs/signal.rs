//! Signals: what a run is told from outside. They wait in a table of their own, because only the runner that holds the
//! lease writes the journal; it hears them with its next poll or append and journals what it makes of them.

use roost_shared::{
    RunId, SignalId,
    event::EventBody,
    run::Phase,
    wire::{Signal, SignalBody},
};

use super::journal;
use crate::{
    bells::Topic,
    db::{DbError, Row, Scope, Statement, Value},
    edge::Edge,
    error::ApiError,
};

/// The signals of some runs, but for those that were heard; both are JSON arrays of ids.
pub(super) fn of_runs(scope: &Scope, runs: Value, heard: Value) -> Statement {
    scope.sql(
        "SELECT id, run_id, body FROM signals WHERE workspace_id = ?1 \
         AND run_id IN (SELECT value FROM json_each(?2)) \
         AND id NOT IN (SELECT value FROM json_each(?3)) ORDER BY id",
        [runs, heard],
    )
}

/// The rows of [`of_runs`].
pub(super) fn from_rows(rows: &[Row]) -> Result<Vec<Signal>, DbError> {
    rows.iter()
        .map(|row| {
            Ok(Signal {
                id: row.parse(0)?,
                run: row.parse(1)?,
                body: row.json(2)?,
            })
        })
        .collect()
}

/// What cancelling a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting, and is cancelled now.
    Now,
    /// A runner drives it; the runner has been told.
    Soon,
    /// It had ended before.
    TooLate,
}

/// Cancels a run, whatever it is doing.
///
/// # Errors
/// 404 when there is no such run, 503 when the database is away.
pub async fn cancel(edge: &Edge, scope: &Scope, run: RunId, by: &str) -> Result<Cancelled, ApiError> {
    // A run may be leased between the look and the write; then the write is refused and the look is made again.
    for _ in 0..4 {
        let rows = scope
            .query(
                "SELECT phase, next_seq, epoch FROM runs WHERE workspace_id = ?1 AND id = ?2",
                [run.into()],
            )
            .await?;
        let row = rows.first().ok_or_else(|| ApiError::not_found("run"))?;
        let phase = Phase::from_name(row.text(0)?).ok_or_else(|| ApiError::not_found("run"))?;
        let (next_seq, epoch) = (row.unsigned(1)?, row.unsigned(2)?);
        let written = match phase {
            Phase::Completed | Phase::Failed | Phase::Cancelled => return Ok(Cancelled::TooLate),
            Phase::Running => scope
                .write(vec![send(edge, scope, run, by)])
                .await
                .map(|_| Cancelled::Soon),
            Phase::Queued | Phase::Parked => {
                let event = EventBody::Cancelled { by: by.to_owned() };
                scope
                    .write(end(edge, scope, run, &event, next_seq, epoch))
                    .await
                    .map(|_| Cancelled::Now)
            }
        };
        match written {
            Ok(cancelled) => {
                edge.bells
                    .ring(&Topic::Signals(scope.workspace().into()), usize::MAX);
                edge.bells.ring(&Topic::Journal(run), usize::MAX);
                return Ok(cancelled);
            }
            Err(DbError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(DbError::Unavailable("the run changes too often".into()).into())
}

fn send(edge: &Edge, scope: &Scope, run: RunId, by: &str) -> Statement {
    let body = SignalBody::Cancel { by: by.to_owned() };
    scope.sql(
        "INSERT INTO signals (workspace_id, id, run_id, body, created_at) SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS \
         (SELECT 1 FROM signals WHERE workspace_id = ?1 AND run_id = ?3 AND body = ?4)",
        [
            SignalId::new(edge.now(), edge.entropy()).into(),
            run.into(),
            serde_json::to_string(&body).unwrap_or_default().into(),
            edge.now().into(),
        ],
    )
}

/// Ends a run that no runner drives.
fn end(edge: &Edge, scope: &Scope, run: RunId, event: &EventBody, seq: u64, epoch: u64) -> Vec<Statement> {
    vec![
        scope.guard(
            "run_moved",
            "SELECT 1 FROM runs WHERE workspace_id = ?1 AND id = ?2 AND next_seq = ?3 AND phase IN ('queued', 'parked')",
            [run.into(), seq.into()],
        ),
        journal::insert(scope, run, seq, epoch, edge.now(), event),
        scope.sql(
            "UPDATE runs SET phase = ?3, next_seq = next_seq + 1, due_at = NULL, lease_id = NULL, updated_at = ?4 \
             WHERE workspace_id = ?1 AND id = ?2",
            [run.into(), Phase::Cancelled.as_str().into(), edge.now().into()],
        ),
    ]
}
