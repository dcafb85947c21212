//! Migrations: numbered SQL files, embedded, applied in order, each in one batch with the row that says so.
//!
//! An edge serves only a database whose schema is exactly the one it was built for; any other answers 503 and says why.

use std::{cmp::Ordering, sync::Arc};

use roost_shared::UnixMillis;

use super::{Database, DbError, Mode, Statement};

/// All migrations, oldest first.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_init", include_str!("../../../migrations/0001_init.sql")),
    (
        "0002_ended_badly",
        include_str!("../../../migrations/0002_ended_badly.sql"),
    ),
    (
        "0003_presence",
        include_str!("../../../migrations/0003_presence.sql"),
    ),
    ("0004_outbox", include_str!("../../../migrations/0004_outbox.sql")),
    ("0005_lanes", include_str!("../../../migrations/0005_lanes.sql")),
    (
        "0006_payloads",
        include_str!("../../../migrations/0006_payloads.sql"),
    ),
    ("0007_pages", include_str!("../../../migrations/0007_pages.sql")),
    (
        "0008_due_by_phase",
        include_str!("../../../migrations/0008_due_by_phase.sql"),
    ),
    ("0009_turns", include_str!("../../../migrations/0009_turns.sql")),
    (
        "0010_by_workspace",
        include_str!("../../../migrations/0010_by_workspace.sql"),
    ),
    ("0011_claims", include_str!("../../../migrations/0011_claims.sql")),
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, \
     applied_at INTEGER NOT NULL)";

/// Yields 0 where no migration was ever applied; else [`APPLIED`] may be asked.
pub(super) const IS_MIGRATED: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'";

/// Yields how many migrations were applied.
pub(super) const APPLIED: &str = "SELECT count(*) FROM migrations";

/// How a database's schema stands to this edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// It is the one this edge was built for.
    Current,
    /// It has had `found` of the `wanted` migrations.
    Older {
        /// Migrations applied; 0 for an empty database.
        found: usize,
        /// Migrations this edge knows.
        wanted: usize,
    },
    /// It has had more migrations than this edge knows.
    Newer {
        /// Migrations applied.
        found: usize,
        /// Migrations this edge knows.
        wanted: usize,
    },
}

impl Schema {
    /// The schema after `found` migrations.
    pub fn of(found: usize) -> Self {
        let wanted = MIGRATIONS.len();
        match found.cmp(&wanted) {
            Ordering::Equal => Self::Current,
            Ordering::Less => Self::Older { found, wanted },
            Ordering::Greater => Self::Newer { found, wanted },
        }
    }
}

/// Looks at the schema.
///
/// # Errors
/// When the database can't be read.
pub async fn inspect(database: &Arc<dyn Database>) -> Result<Schema, DbError> {
    if count(database, IS_MIGRATED).await? == 0 {
        return Ok(Schema::of(0));
    }
    Ok(Schema::of(count(database, APPLIED).await?))
}

/// Brings the schema up to date and gives the names of the migrations it applied. A newer schema is left alone.
///
/// # Errors
/// When a migration fails; it and those after it are then not applied, those before it are.
pub async fn migrate(database: &Arc<dyn Database>, now: UnixMillis) -> Result<Vec<&'static str>, DbError> {
    let Schema::Older { found, .. } = inspect(database).await? else {
        return Ok(Vec::new());
    };
    let mut applied = Vec::new();
    for (name, batch) in after(found, now) {
        match database.batch(Mode::Write, batch).await {
            Ok(_) => applied.push(name),
            // Somebody else migrates at the same time: their work is as good as ours.
            Err(DbError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(applied)
}

/// The migrations after the first `found`, each with its batch.
pub(super) fn after(found: usize, now: UnixMillis) -> impl Iterator<Item = (&'static str, Vec<Statement>)> {
    let rest = MIGRATIONS.iter().enumerate().skip(found);
    rest.map(move |(index, (name, sql))| {
        let version = i64::try_from(index).unwrap_or(i64::MAX);
        let mut batch = vec![
            Statement::new(TABLE, Vec::new()),
            Statement::guard(
                "already_migrated",
                "SELECT 1 WHERE (SELECT count(*) FROM migrations) = ?1",
                vec![version.into()],
            ),
        ];
        batch.extend(statements(sql).map(|statement| Statement::new(statement, Vec::new())));
        batch.push(Statement::new(
            "INSERT INTO migrations (version, name, applied_at) VALUES (?1, ?2, ?3)",
            vec![(version + 1).into(), (*name).into(), now.into()],
        ));
        (*name, batch)
    })
}

async fn count(database: &Arc<dyn Database>, sql: &'static str) -> Result<usize, DbError> {
    let results = database
        .batch(Mode::Read, vec![Statement::new(sql, Vec::new())])
        .await?;
    let rows = results.first().and_then(|rows| rows.first());
    let number = rows.map(|row| row.unsigned(0)).transpose()?.unwrap_or(0);
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// The statements of a file: our migrations hold no semicolon inside a statement, and comments begin a line or follow
/// two blanks.
fn statements(sql: &'static str) -> impl Iterator<Item = String> {
    let code: Vec<&str> = sql
        .lines()
        .map(|line| line.split("-- ").next().unwrap_or(line))
        .collect();
    let pieces: Vec<String> = code
        .join("\n")
        .split(';')
        .map(|piece| piece.trim().to_owned())
        .collect();
    pieces.into_iter().filter(|piece| !piece.is_empty())
}
