//! What a restored database does not know: what happened after its backup was made.
//!
//! Invariant: nothing that may have been done since is done again before somebody looked. What was to be sent is looked for in
//! its channel, what was under way waits for a person, what the channels delivered since is fetched and shown; and whoever still
//! holds a lease from that time can write nothing, because the epochs go on above all that there can have been.

use std::path::Path;

use roost_shared::{UnixMillis, event::EventBody, question::PATIENCE};
use serde::Serialize;

use super::{DbError, Row, Statement, connection::Connection, migrate};
use crate::ingress::sweep;

/// What is known of the time after a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing: agents may have worked, and channels may have been written to.
    Unknown,
    /// That nothing happened: the backup was made after the last edge was stopped.
    Nothing,
}

/// What may have been done since the backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Doubts {
    /// Replies that were waiting or on their way, and are looked for now.
    pub replies_in_doubt: u64,
    /// Runs that were not at their end, and wait to be resumed or cancelled now.
    pub runs_paused: u64,
}

/// Why the outcome of an effect is unknown that a backup had as not sent yet.
const RESTORED: &str = "restored";
/// In whose name runs are paused.
const BY: &str = "roost restore";

/// No journal: what is cut off is thrown away, and a file left beside it would be taken for the next one's.
const PRAGMAS: &str = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL;";

/// Brings a copy that has had `migrations` up to date and makes its doubts known in it; in one transaction.
pub(super) fn prepare(
    copy: &Path,
    migrations: usize,
    since: Since,
    now: UnixMillis,
) -> Result<Doubts, DbError> {
    let mut connection = Connection::open(copy, PRAGMAS)?;
    connection.run("BEGIN IMMEDIATE")?;
    for (_, batch) in migrate::after(migrations, now) {
        connection.statements(&batch)?;
    }
    let doubts = match since {
        Since::Unknown => doubt(&mut connection, now)?,
        Since::Nothing => Doubts::default(),
    };
    connection.run("COMMIT")?;
    Ok(doubts)
}

fn doubt(connection: &mut Connection, now: UnixMillis) -> Result<Doubts, DbError> {
    let paused = EventBody::Paused {
        by: BY.to_owned(),
        until: now + PATIENCE,
    };
    let paused = serde_json::to_string(&paused).unwrap_or_default();
    let results = connection.statements(&[
        // A reaction set twice is one. What a person is asked about already stays with them.
        Statement::new(
            "UPDATE effects SET state = 'unknown', attempts = max(attempts, 1), tried_at = coalesce(tried_at, created_at), \
             looks = 0, missed = 0, due_at = ?1, code = ?2, updated_at = ?1, \
             reason = 'the database was restored from a backup, and it may have been sent since' \
             WHERE due_at IS NOT NULL AND effect ->> '$.type' <> 'acknowledge' RETURNING id",
            vec![now.into(), RESTORED.into()],
        ),
        // Seconds since 1970 are more than the leases a run can have had, and more at every restore.
        Statement::new(
            "UPDATE runs SET epoch = max(epoch + 1, ?1), lease_id = NULL \
             WHERE phase IN ('queued', 'running', 'parked', 'waiting')",
            vec![now.as_secs().into()],
        ),
        Statement::new(
            "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT workspace_id, id, next_seq, epoch, \
             ?1, ?2 FROM runs WHERE phase IN ('queued', 'running', 'parked')",
            vec![now.into(), paused.into()],
        ),
        Statement::new(
            "UPDATE runs SET phase = 'waiting', waits = 'paused', next_seq = next_seq + 1, due_at = ?2, updated_at = ?1 \
             WHERE phase IN ('queued', 'running', 'parked') RETURNING id",
            vec![now.into(), (now + PATIENCE).into()],
        ),
        sweep::after_restore(now),
    ])?;
    let count = |place: usize| results.get(place).map_or(0, |rows: &Vec<Row>| rows.len() as u64);
    Ok(Doubts {
        replies_in_doubt: count(0),
        runs_paused: count(3),
    })
}
