//! Is a database file whole? SQLite's own checks, and what must be true of every journal.
//!
//! Invariant: all of it is read from one snapshot and nothing is written, so a database may be checked while it is in use.

use std::path::Path;

use serde::Serialize;

use super::{
    DbError, Rows, Statement,
    connection::Connection,
    migrate::{APPLIED, IS_MIGRATED},
};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything but whether indexes and tables say the same.
    Quick,
    /// Everything.
    Whole,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// Migrations applied; 0 where it is no database of Roost's.
    pub migrations: usize,
    /// Rows.
    pub deliveries: u64,
    /// Rows.
    pub runs: u64,
    /// Rows.
    pub events: u64,
    /// What is wrong with it, the first few of each kind; none: it is whole.
    pub faults: Vec<String>,
}

const PRAGMAS: &str = "PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY;";

/// Runs whose journal has a gap, or another end than the run believes.
const TORN: &str = "SELECT r.id FROM runs r LEFT JOIN (SELECT run_id, count(*) AS held, min(seq) AS first, max(seq) AS last \
     FROM events GROUP BY run_id) e ON e.run_id = r.id \
     WHERE coalesce(e.held, 0) <> r.next_seq OR e.first <> 0 OR e.last <> r.next_seq - 1 LIMIT 5";

/// Looks at the database in a file.
///
/// # Errors
/// When it can't be opened or is locked. Damage is no error but a fault.
pub fn check(file: &Path, depth: Depth) -> Result<Checkup, DbError> {
    check_with(file, PRAGMAS, depth)
}

pub(super) fn check_with(file: &Path, pragmas: &str, depth: Depth) -> Result<Checkup, DbError> {
    match Connection::open(file, pragmas).and_then(|mut connection| look(&mut connection, depth)) {
        // A statement that is right everywhere else fails on what is damaged.
        Err(DbError::Sql(message)) => Ok(Checkup {
            faults: vec![message],
            ..Checkup::default()
        }),
        outcome => outcome,
    }
}

fn look(connection: &mut Connection, depth: Depth) -> Result<Checkup, DbError> {
    connection.run("BEGIN")?;
    let mut rows = |sql: &'static str| connection.statement(&Statement::new(sql, Vec::new()));
    let mut faults = Vec::new();
    let pages = match depth {
        Depth::Quick => rows("PRAGMA quick_check(5)")?,
        Depth::Whole => rows("PRAGMA integrity_check(5)")?,
    };
    for row in &pages {
        match row.text(0)? {
            "ok" => {}
            fault => faults.push(fault.to_owned()),
        }
    }
    for row in rows("PRAGMA foreign_key_check")?.iter().take(5) {
        faults.push(format!(
            "a row of {} refers to one that is not there",
            row.text(0)?
        ));
    }
    if count(&rows(IS_MIGRATED)?)? == 0 {
        return Ok(Checkup {
            faults,
            ..Checkup::default()
        });
    }
    for row in &rows(TORN)? {
        faults.push(format!("the journal of run {} has a gap", row.text(0)?));
    }
    Ok(Checkup {
        migrations: usize::try_from(count(&rows(APPLIED)?)?).unwrap_or(usize::MAX),
        deliveries: count(&rows("SELECT count(*) FROM deliveries")?)?,
        runs: count(&rows("SELECT count(*) FROM runs")?)?,
        events: count(&rows("SELECT count(*) FROM events")?)?,
        faults,
    })
}

fn count(rows: &Rows) -> Result<u64, DbError> {
    let number = rows.first().map(|row| row.unsigned(0)).transpose()?;
    Ok(number.unwrap_or_default())
}
