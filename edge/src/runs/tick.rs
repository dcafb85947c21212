//! The tick: stateless edges have no clock, so a runner asks them to do what is due in its workspace, and a host's own timer
//! to do it in all.
//!
//! Invariant: no workspace waits for another, and none keeps another from its turn.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use futures::{StreamExt, channel::mpsc, future::select};
use roost_shared::{UnixMillis, wire::TickResponse};

use super::{overdue, runner::Runner};
use crate::{
    bells::Topic,
    db::{DbError, Scope, directory},
    edge::Edge,
    error::ApiError,
    ingress, once, outbox,
};

/// Workspaces in which one tick of a host's timer does what is due.
const AT_ONCE: u32 = 32;
/// How long such a tick waits for them: one whose channels are slow goes on beside the next.
const LONGEST: Duration = Duration::from_secs(30);

/// `POST /runner/v1/tick`.
pub(super) async fn tick(
    State(edge): State<Arc<Edge>>,
    runner: Runner,
) -> Result<Json<TickResponse>, ApiError> {
    // What is due is done in batches that know of no runner, so its token is looked at before them.
    runner.scope.read(vec![runner.guard()]).await?;
    ingress::sweep::soon(&edge, &runner.scope);
    Ok(Json(run(&edge, &runner.scope).await?))
}

/// Does what is due in the workspaces whose turn it is, each by itself.
///
/// # Errors
/// When it can't be found out which those are.
pub(crate) async fn everywhere(edge: &Arc<Edge>) -> Result<(), DbError> {
    // Nothing is ever sent: it ends once nobody is at work any more.
    let (working, mut done) = mpsc::unbounded::<Infallible>();
    for scope in directory::turn(&edge.ports.database, AT_ONCE).await? {
        ingress::sweep::soon(edge, &scope);
        let working = working.clone();
        once::soon(edge, &scope, &edge.ticking, move |edge, scope| {
            let working = working.clone();
            async move {
                if let Err(error) = run(&edge, &scope).await {
                    let workspace = scope.workspace();
                    tracing::warn!(%workspace, "what is due is left for the next tick: {error}");
                }
                drop(working);
            }
        });
    }
    drop(working);
    select(done.next(), edge.ports.clock.sleep(LONGEST)).await;
    Ok(())
}

/// Does what is due in one workspace.
///
/// # Errors
/// When the database fails.
pub(crate) async fn run(edge: &Edge, scope: &Scope) -> Result<TickResponse, DbError> {
    let sent = outbox::send_due(edge, scope).await?;
    forget(edge, scope).await?;
    overdue::settle(edge, scope).await?;
    ingress::payloads::remove_old(edge, scope).await?;
    // A lease that ran out, or a parked run whose time has come, rings for itself.
    edge.bells.ring(&Topic::Work(scope.workspace().into()), 1);
    Ok(TickResponse {
        effects_sent: sent.sent,
        effects_failed: sent.failed,
        next_due: next_due(scope).await?,
    })
}

/// Drops spent tokens that would no longer be good anyway.
async fn forget(edge: &Edge, scope: &Scope) -> Result<(), DbError> {
    let expired = scope
        .query(
            "SELECT 1 FROM spent_tokens WHERE workspace_id = ?1 AND expires_at < ?2 LIMIT 1",
            [edge.now().into()],
        )
        .await?;
    if !expired.is_empty() {
        let delete = "DELETE FROM spent_tokens WHERE workspace_id = ?1 AND expires_at < ?2";
        scope.write(vec![scope.sql(delete, [edge.now().into()])]).await?;
    }
    Ok(())
}

async fn next_due(scope: &Scope) -> Result<Option<UnixMillis>, DbError> {
    let rows = scope
        .query(
            concat!(
                "SELECT min(due) FROM (SELECT min(due_at) AS due FROM effects WHERE workspace_id = ?1 ",
                "AND due_at IS NOT NULL UNION ALL SELECT min((SELECT min(r.due_at) FROM runs r ",
                "WHERE r.workspace_id = ?1 AND r.agent_id = a.id AND r.phase = p.phase AND r.due_at IS NOT NULL)) FROM ",
                phases!("queued", "parked", "running", "waiting"),
                "p JOIN agents a WHERE a.workspace_id = ?1)"
            ),
            [],
        )
        .await?;
    Ok(rows
        .first()
        .map(|row| row.optional_integer(0))
        .transpose()?
        .flatten()
        .map(UnixMillis))
}
