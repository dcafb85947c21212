//! The directory: which workspaces there are, and in which database each lives. It maps all to one.
//!
//! Invariant: whoever goes round them comes to every one, for a workspace has had its turn before anything is done in it,
//! and those whose turn is longest ago come next, whoever asks.

use std::sync::Arc;

use super::{Database, DbError, Mode, Rows, Scope, Statement};

/// The workspaces whose turn it is, `most` at most; all, where there are no more.
///
/// # Errors
/// When the database fails.
pub(crate) async fn turn(database: &Arc<dyn Database>, most: u32) -> Result<Vec<Scope>, DbError> {
    let ask = async |mode, sql, most: u32| -> Result<Rows, DbError> {
        let statement = Statement::new(sql, vec![most.into()]);
        let mut results = database.batch(mode, vec![statement]).await?;
        Ok(results.pop().unwrap_or_default())
    };
    let found = ask(
        Mode::Read,
        "SELECT id FROM workspaces ORDER BY turn LIMIT ?1",
        most.saturating_add(1),
    )
    .await?;
    // Only where not all have their turn it is written down who had.
    let found = if found.len() > usize::try_from(most).unwrap_or(usize::MAX) {
        ask(
            Mode::Write,
            "UPDATE workspaces SET turn = (SELECT max(turn) FROM workspaces) + 1 WHERE id IN \
             (SELECT id FROM workspaces ORDER BY turn LIMIT ?1) RETURNING id",
            most,
        )
        .await?
    } else {
        found
    };
    found
        .iter()
        .map(|row| Ok(Scope::new(database.clone(), row.text(0)?.into())))
        .collect()
}
