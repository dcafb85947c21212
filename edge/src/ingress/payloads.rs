//! How long payloads are kept: headers and bodies of old deliveries are removed, a few at every tick.
//!
//! Invariants: a delivery keeps its row, its dedupe key and its verdict, so an event that comes again is still known; one that
//! a run works on keeps its payload until the run has ended.
//!
//! Deliveries are walked through in the order of their ids, which is that of their coming. At the end of a walk the next one
//! begins where the first delivery was passed over, so nothing is left behind and nothing is looked at for ever.

use std::time::Duration;

use roost_shared::{DeliveryId, UnixMillis};

use crate::{
    db::{DbError, Scope},
    edge::Edge,
};

/// Deliveries looked at by one tick.
const AT_ONCE: u32 = 256;
/// How long it rests when all old ones have been looked at.
const REST: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The refusal when another edge walks too.
const WALKED: &str = "payloads_walked";

/// Where a walk stands.
#[derive(Debug, Default)]
struct Walk {
    next: String,
    due_at: i64,
}

/// Removes what is older than the settings say.
///
/// # Errors
/// When the database fails.
pub(crate) async fn remove_old(edge: &Edge, scope: &Scope) -> Result<(), DbError> {
    let Some(days) = edge.settings.keep_payloads_days else {
        return Ok(());
    };
    let now = edge.now();
    let walk = walk(scope).await?;
    if walk.due_at > now.0 {
        return Ok(());
    }
    let before = DeliveryId::new(now - DAY * days.get(), [0; 10]);
    let rows = scope
        .query(
            "SELECT count(*), max(id) FROM (SELECT id FROM deliveries WHERE workspace_id = ?1 AND id >= ?2 AND id < ?3 \
             ORDER BY id LIMIT ?4)",
            [walk.next.as_str().into(), before.into(), AT_ONCE.into()],
        )
        .await?;
    let found = rows.first().map(|row| row.unsigned(0)).transpose()?.unwrap_or(0);
    let last = rows
        .first()
        .map(|row| row.optional_text(1))
        .transpose()?
        .flatten();
    match remove(scope, &walk, last, days.get(), Pace::after(found, now)).await {
        // The other one does what there is to do.
        Ok(()) | Err(DbError::Refused { code: WALKED }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the walk goes on at the next tick or has come to its end.
enum Pace {
    On(UnixMillis),
    Ended(UnixMillis),
}

impl Pace {
    fn after(found: u64, now: UnixMillis) -> Self {
        if found < AT_ONCE.into() {
            Self::Ended(now + REST)
        } else {
            Self::On(now)
        }
    }
}

async fn walk(scope: &Scope) -> Result<Walk, DbError> {
    let rows = scope
        .query(
            "SELECT next, due_at FROM payload_walks WHERE workspace_id = ?1",
            [],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Walk::default());
    };
    Ok(Walk {
        next: row.text(0)?.to_owned(),
        due_at: row.integer(1)?,
    })
}

/// Removes the payloads from where the walk stands up to `last`, and writes down where it stands then.
async fn remove(
    scope: &Scope,
    walk: &Walk,
    last: Option<&str>,
    days: u32,
    pace: Pace,
) -> Result<(), DbError> {
    let mut batch = vec![scope.guard(
        WALKED,
        "SELECT 1 WHERE (coalesce((SELECT next FROM payload_walks WHERE workspace_id = ?1), ''), \
         coalesce((SELECT due_at FROM payload_walks WHERE workspace_id = ?1), 0)) = (?2, ?3)",
        [walk.next.as_str().into(), walk.due_at.into()],
    )];
    if let Some(last) = last {
        // A work item's id begins like its delivery's, by which it is found. The first four bytes of a body are its length.
        batch.push(scope.sql(
            "UPDATE deliveries AS d SET headers = '{}', body = substr(d.body, 1, 4), removed_after = ?4 \
             WHERE d.workspace_id = ?1 AND d.id BETWEEN ?2 AND ?3 AND d.removed_after IS NULL \
             AND NOT EXISTS (SELECT 1 FROM work_items w JOIN runs r ON r.work_item_id = w.id \
             WHERE w.id BETWEEN substr(d.id, 1, 10) || '0000000000000000' AND substr(d.id, 1, 10) || 'ZZZZZZZZZZZZZZZZ' \
             AND w.delivery_id = d.id AND r.phase NOT IN ('completed', 'failed', 'cancelled')) \
             AND NOT EXISTS (SELECT 1 FROM work_items w JOIN joined j ON j.work_item_id = w.id JOIN runs r ON r.id = j.run_id \
             WHERE w.id BETWEEN substr(d.id, 1, 10) || '0000000000000000' AND substr(d.id, 1, 10) || 'ZZZZZZZZZZZZZZZZ' \
             AND w.delivery_id = d.id AND r.phase NOT IN ('completed', 'failed', 'cancelled'))",
            [walk.next.as_str().into(), last.into(), days.into()],
        ));
    }
    let due_at = match pace {
        Pace::On(at) | Pace::Ended(at) => at,
    };
    // What comes right after an id: no other id lies between.
    let next = last.map_or_else(|| walk.next.clone(), |last| format!("{last}0"));
    batch.push(scope.sql(
        "INSERT INTO payload_walks (workspace_id, next, held, due_at) VALUES (?1, ?3, (SELECT min(id) FROM deliveries \
         WHERE workspace_id = ?1 AND id BETWEEN ?2 AND ?3 AND removed_after IS NULL), ?4) \
         ON CONFLICT (workspace_id) DO UPDATE SET next = excluded.next, due_at = excluded.due_at, \
         held = coalesce(held, excluded.held)",
        [walk.next.as_str().into(), next.into(), due_at.into()],
    ));
    if let Pace::Ended(_) = pace {
        batch.push(scope.sql(
            "UPDATE payload_walks SET next = coalesce(held, next), held = NULL WHERE workspace_id = ?1",
            [],
        ));
    }
    scope.write(batch).await.map(drop)
}
