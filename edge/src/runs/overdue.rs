//! What is overdue among runs: those that nobody came for, and those that end every runner that touches them.
//!
//! Invariant: a run is judged by the row it was seen in; if it has moved since, nothing happens to it.

use roost_shared::{
    RunId,
    event::EventBody,
    question::PATIENCE,
    run::{Phase, Waits},
};

use super::{
    control::{self, Stand},
    signal,
};
use crate::{
    bells::Topic,
    db::{DbError, Row, Scope},
    edge::Edge,
};

/// Runs judged at once; the others are judged by the next tick.
const AT_ONCE: u32 = 32;

/// Gives up waiting runs whose time is over, and keeps runs from runners that ended too many of them.
pub(super) async fn settle(edge: &Edge, scope: &Scope) -> Result<(), DbError> {
    let now = edge.now();
    let results = scope
        .read(vec![
            scope.sql(
                "SELECT id, phase, waits, next_seq, epoch, crashes FROM runs WHERE workspace_id = ?1 \
                 AND phase = 'waiting' AND due_at <= ?2 LIMIT ?3 + 0",
                [now.into(), AT_ONCE.into()],
            ),
            scope.sql(
                "SELECT id, phase, waits, next_seq, epoch, crashes FROM runs WHERE workspace_id = ?1 AND crashes > 0 \
                 AND due_at <= ?2 AND phase = 'running' AND crashes + 1 >= ?4 LIMIT ?3 + 0",
                [now.into(), AT_ONCE.into(), edge.settings.crash_limit.into()],
            ),
        ])
        .await?;
    for row in results.iter().flatten() {
        judge(edge, scope, row).await?;
    }
    Ok(())
}

async fn judge(edge: &Edge, scope: &Scope, row: &Row) -> Result<(), DbError> {
    let run: RunId = row.parse(0)?;
    let Some(phase) = Phase::from_name(row.text(1)?) else {
        return Ok(());
    };
    let stand = Stand {
        phase,
        waits: row.optional_text(2)?.and_then(Waits::from_name),
        next_seq: row.unsigned(3)?,
        epoch: row.unsigned(4)?,
    };
    let event = match stand.phase {
        Phase::Waiting => EventBody::Cancelled {
            by: "Roost".into(),
            reason: Some(format!(
                "nobody {} within {} days",
                match stand.waits {
                    Some(Waits::Asked) => "answered",
                    _ => "resumed it",
                },
                PATIENCE.as_secs() / 86_400
            )),
        },
        _ => EventBody::Poisoned {
            // The lease that has just run out counts too.
            crashes: u32::try_from(row.unsigned(5)?)
                .unwrap_or(u32::MAX)
                .saturating_add(1),
            until: edge.now() + PATIENCE,
        },
    };
    let mut batch = control::write(edge, scope, run, &stand, &event);
    if stand.phase == Phase::Running {
        // It was seen without a lease; one taken since is not taken away.
        batch.insert(0, control::lapsed(scope, run, edge.now()));
        batch.push(signal::forget_pauses(scope, run));
    }
    match scope.write(batch).await {
        Ok(_) => {
            tracing::warn!(%run, event = event.kind(), "a run waits no longer for what does not come");
            edge.bells.ring(&Topic::Journal(run), usize::MAX);
            Ok(())
        }
        Err(DbError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
