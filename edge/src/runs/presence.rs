//! Presence: a runner holds one request open for as long as it lives, so that its death is noticed when the connection
//! closes and not when its leases run out.
//!
//! Invariant: a lease is only ever brought to its end here, never given to anybody: a runner that lives after all has lost
//! time and no more, because every write is fenced by its epoch. What a closed connection ends is held back when the
//! runner has come back by another one, through whichever edge.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Json, body::Body, extract::State, response::IntoResponse, response::Response};
use bytes::Bytes;
use futures::{future::select, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use roost_shared::{
    PresenceId, RunId, UnixMillis,
    wire::{PresenceRequest, PresenceResponse},
};

use super::{bell, runner::Runner};
use crate::{
    bells::Topic,
    db::{DbError, Row, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// Whether this host sees that a connection closes under an answer that is still being streamed. Workers and Spin keep
/// their connections to themselves.
const SEES_CLOSES: bool = cfg!(not(target_family = "wasm"));
/// How often an empty line is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a runner whose connection closed may take to come back by another one.
const GRACE: Duration = Duration::from_millis(150);
/// Between two tries to end the leases of a runner that is gone, while the database is away.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// `POST /runner/v1/presence`.
pub(super) async fn presence(
    State(edge): State<Arc<Edge>>,
    runner: Runner,
    Json(request): Json<PresenceRequest>,
) -> Result<Response, ApiError> {
    if request.runner.is_empty() || request.runner.len() > 128 {
        return Err(ApiError::invalid("a runner has a name of 1 to 128 bytes"));
    }
    if !SEES_CLOSES {
        let (line, unwatched) = (
            line(PresenceResponse { watched: false }),
            [(CACHE_CONTROL, "no-store")],
        );
        return Ok((unwatched, line).into_response());
    }
    let now = edge.now();
    let id = PresenceId::new(now, edge.entropy());
    let mut results = runner
        .scope
        .write(vec![
            runner.guard(),
            replaced(&runner.scope, &request, now),
            register(&runner, &request, id, now),
        ])
        .await?;
    let free = results.get_mut(1).map(std::mem::take).unwrap_or_default();
    free_for_others(&edge, &runner.scope, &free)?;
    let watch = Watch {
        edge: edge.clone(),
        scope: runner.scope,
        runner: request.runner,
        id,
        ended: Ended::WithItsRunner,
    };
    let lines = stream::unfold((watch, true), |(mut watch, first)| async move {
        let line = if first {
            line(PresenceResponse { watched: true })
        } else {
            watch.heartbeat().await?
        };
        Some((Ok::<_, Infallible>(line), (watch, false)))
    });
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn line(response: PresenceResponse) -> Bytes {
    let mut line = serde_json::to_vec(&response).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// Ends a runner's leases if its row says that their process is gone; the argument is the condition on the row `n`, by `?3`.
macro_rules! end_leases {
    ($gone:literal) => {
        concat!(
            "UPDATE runs SET due_at = ?4 WHERE workspace_id = ?1 AND agent_id IN (SELECT id FROM agents ",
            "WHERE workspace_id = ?1) AND phase = 'running' AND due_at > ?4 AND runner = ?2 AND EXISTS (SELECT 1 FROM runners n ",
            "WHERE n.workspace_id = ?1 AND n.name = ?2 AND ",
            $gone,
            ") RETURNING id"
        )
    };
}

/// Ends the leases of an earlier process of the same name: that process is gone.
fn replaced(scope: &Scope, request: &PresenceRequest, now: UnixMillis) -> Statement {
    scope.sql(
        end_leases!("n.process <> ?3"),
        [request.runner.as_str().into(), request.process.into(), now.into()],
    )
}

fn register(runner: &Runner, request: &PresenceRequest, id: PresenceId, now: UnixMillis) -> Statement {
    runner.scope.sql(
        "INSERT INTO runners (workspace_id, name, token_id, room, seen_at, process, presence) \
         VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6) ON CONFLICT (workspace_id, name) DO UPDATE SET \
         token_id = excluded.token_id, seen_at = excluded.seen_at, process = excluded.process, \
         presence = excluded.presence",
        [
            request.runner.as_str().into(),
            runner.claims.jti.into(),
            now.into(),
            request.process.into(),
            id.into(),
        ],
    )
}

/// Tells those who wait that these runs may be leased.
fn free_for_others(edge: &Arc<Edge>, scope: &Scope, rows: &[Row]) -> Result<(), DbError> {
    let runs: Vec<RunId> = rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?;
    if !runs.is_empty() {
        bell::announce(edge, scope, &runs);
    }
    Ok(())
}

/// A watched connection. When it is dropped the runner is gone, unless the edge itself ended it.
struct Watch {
    edge: Arc<Edge>,
    scope: Scope,
    runner: String,
    id: PresenceId,
    ended: Ended,
}

/// Why a watched connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    WithItsRunner,
    ByTheEdge,
}

impl Watch {
    /// The next line, in its time; none when the edge shuts down, which says nothing of the runner.
    async fn heartbeat(&mut self) -> Option<Bytes> {
        let end = self.edge.bells.listen(Topic::End);
        if !self.edge.bells.closed() {
            select(end, self.edge.ports.clock.sleep(HEARTBEAT)).await;
        }
        if self.edge.bells.closed() {
            self.ended = Ended::ByTheEdge;
            return None;
        }
        Some(Bytes::from_static(b"\n"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.ended == Ended::ByTheEdge || self.edge.bells.closed() {
            return;
        }
        let gone = Gone {
            edge: self.edge.clone(),
            scope: self.scope.clone(),
            runner: std::mem::take(&mut self.runner),
            id: self.id,
        };
        self.edge.ports.background.spawn(Box::pin(gone.end_leases()));
    }
}

/// A runner whose connection closed.
struct Gone {
    edge: Arc<Edge>,
    scope: Scope,
    runner: String,
    id: PresenceId,
}

impl Gone {
    /// Lets the runner's leases run out, if it does not come back within the grace. Later than a lease's time there is
    /// nothing left to end.
    async fn end_leases(self) {
        let clock = self.edge.ports.clock.clone();
        let until = self.edge.now() + self.edge.settings.lease;
        clock.sleep(GRACE).await;
        loop {
            let error = match self.scope.write(vec![self.lapse()]).await {
                Ok(results) => {
                    let free = results.first().map_or(&[][..], Vec::as_slice);
                    if !free.is_empty() {
                        tracing::info!(
                            runner = self.runner,
                            runs = free.len(),
                            "a runner is gone; its runs go on elsewhere"
                        );
                    }
                    if let Err(error) = free_for_others(&self.edge, &self.scope, free) {
                        tracing::warn!("runs of a runner that is gone are not announced: {error}");
                    }
                    return;
                }
                Err(error) => error,
            };
            if self.edge.now() >= until {
                tracing::warn!(
                    runner = self.runner,
                    "leases of a runner that is gone have run out: {error}"
                );
                return;
            }
            clock.sleep(TRY_AGAIN).await;
        }
    }

    fn lapse(&self) -> Statement {
        self.scope.sql(
            end_leases!("n.presence = ?3"),
            [
                self.runner.as_str().into(),
                self.id.into(),
                self.edge.now().into(),
            ],
        )
    }
}
