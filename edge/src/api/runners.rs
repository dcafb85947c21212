//! Runners: who has polled, when, and what they hold.

use std::time::Duration;

use axum::Json;
use roost_shared::{TokenId, UnixMillis};
use serde::Serialize;

use super::integrations::All;
use crate::{
    auth::session::Person,
    db::{Row, Scope, ValueError},
    error::ApiError,
};

/// A runner that has polled since is there: runners poll at least this often.
pub(crate) const PRESENT: Duration = Duration::from_secs(60);

/// A runner process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunnerView {
    /// Its name.
    pub name: String,
    /// The token it polled with last; revoking that shuts it out.
    pub token: TokenId,
    /// Whether that token has been revoked.
    pub revoked: bool,
    /// Where it can be rung; nothing for one that only polls.
    pub doorbell: Option<String>,
    /// How many more runs it could take at its last poll.
    pub room: u64,
    /// Runs it drives.
    pub running: u64,
    /// When it polled last.
    pub seen_at: UnixMillis,
}

/// `GET /api/v1/runners`.
pub(super) async fn list(person: Person) -> Result<Json<All<RunnerView>>, ApiError> {
    let items = all(&person.scope).await?;
    Ok(Json(All { items }))
}

/// All runners that have ever polled, the latest first.
pub(crate) async fn all(scope: &Scope) -> Result<Vec<RunnerView>, ApiError> {
    let rows = scope
        .query(
            "SELECT n.name, n.token_id, EXISTS (SELECT 1 FROM spent_tokens s WHERE s.workspace_id = n.workspace_id \
             AND s.id = n.token_id), n.doorbell, n.room, (SELECT count(*) FROM runs r \
             WHERE r.workspace_id = n.workspace_id AND r.agent_id IN (SELECT id FROM agents WHERE workspace_id = ?1) \
             AND r.phase = 'running' AND r.due_at IS NOT NULL AND r.runner = n.name), n.seen_at FROM runners n \
             WHERE n.workspace_id = ?1 ORDER BY n.seen_at DESC, n.name",
            [],
        )
        .await?;
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

fn view(row: &Row) -> Result<RunnerView, ValueError> {
    Ok(RunnerView {
        name: row.text(0)?.to_owned(),
        token: row.parse(1)?,
        revoked: row.integer(2)? == 1,
        doorbell: row.optional_text(3)?.map(str::to_owned),
        room: row.unsigned(4)?,
        running: row.unsigned(5)?,
        seen_at: UnixMillis(row.integer(6)?),
    })
}
