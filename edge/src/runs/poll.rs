//! The poll: a runner's heartbeat, its request for work and its ear for signals, in one request and one batch.
//!
//! Invariant: whoever polls hears of every lease of its own that is another's by now. When there is nothing to tell, the
//! request is held until a bell rings or its time is up.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use futures::future::{Either, select};
use roost_shared::{
    PollId, RunId, UnixMillis,
    fail_point::{self, FailPoint},
    wire::{PollRequest, PollResponse},
};

use super::{held, offer::Standing, runner::Runner, signal, take, withdraw};
use crate::{
    bells::Topic,
    db::{DbError, Scope, Statement, Value},
    edge::Edge,
    error::ApiError,
};

/// The longest a poll is held.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Leases renewed by one poll at most.
const MAX_HELD: usize = 4096;

/// `POST /runner/v1/poll`.
pub(super) async fn poll(
    State(edge): State<Arc<Edge>>,
    runner: Runner,
    Json(request): Json<PollRequest>,
) -> Result<Json<PollResponse>, ApiError> {
    if request.runner.is_empty()
        || request.runner.len() > 128
        || request.held.len().max(request.heard.len()) > MAX_HELD
        || request.only.as_ref().is_some_and(|only| only.len() > MAX_HELD)
    {
        return Err(ApiError::invalid(
            "a runner has a name of 1 to 128 bytes, holds at most 4096 runs and names at most 4096 agents",
        ));
    }
    let until = edge.now() + Duration::from_millis(request.wait_ms).min(MAX_WAIT);
    let workspace: Arc<str> = runner.scope.workspace().into();
    loop {
        // Listen before looking, so that what happens in between still rings.
        let work = edge.bells.listen(Topic::Work(workspace.clone()));
        let signals = edge.bells.listen(Topic::Signals(workspace.clone()));
        let response = once(&edge, &runner, &request).await?;
        if !response.leases.is_empty() || !response.lost.is_empty() || !response.signals.is_empty() {
            return Ok(Json(response));
        }
        let bell = async {
            if request.room > 0 {
                select(work, signals).await;
            } else {
                drop(work);
                signals.await;
            }
        };
        // What a webhook leases for this poll comes without another look. A poll without a name could not be withdrawn.
        let mut offer = request
            .poll
            .filter(|_| request.room > 0)
            .map(|poll| Standing::make(&edge, &workspace, &runner, &request, poll));
        let rung = wait(&edge, &runner.scope, &request, until, bell, &mut offer).await?;
        if let Some(offer) = offer {
            let leases = offer.end().await;
            if !leases.is_empty() {
                return Ok(Json(PollResponse { leases, ..response }));
            }
        }
        if rung == Rung::No {
            return Ok(Json(response));
        }
    }
}

/// Whether a held poll has something to look at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rung {
    Yes,
    /// Its time is up.
    No,
}

/// Waits for the bell, for the offer to be taken, or for the time to be up.
async fn wait(
    edge: &Edge,
    scope: &Scope,
    request: &PollRequest,
    until: UnixMillis,
    bell: impl Future<Output = ()>,
    offer: &mut Option<Standing<'_>>,
) -> Result<Rung, ApiError> {
    let taken = std::pin::pin!(async {
        match offer {
            Some(offer) => offer.taken().await,
            None => std::future::pending().await,
        }
    });
    let bell = std::pin::pin!(bell);
    let mut bell = std::pin::pin!(select(bell, taken));
    loop {
        let now = edge.now();
        if now >= until || edge.bells.closed() {
            return Ok(Rung::No);
        }
        let nap = edge
            .ports
            .clock
            .sleep(edge.settings.look_again.min(until.since(now)));
        match select(bell, nap).await {
            Either::Left(_) => return Ok(Rung::Yes),
            Either::Right(((), still)) => bell = still,
        }
        // Other processes ring no bell here, and a lease runs out silently: look, without writing.
        if waiting(edge, scope, request).await? {
            return Ok(Rung::Yes);
        }
    }
}

/// Whether a poll would have something to tell.
async fn waiting(edge: &Edge, scope: &Scope, request: &PollRequest) -> Result<bool, DbError> {
    let results = scope
        .read(vec![
            take::has_some(edge, scope, request),
            signal::of_runs(
                scope,
                ids(request.held.iter().map(|held| held.run)),
                ids(request.heard.iter().copied()),
            ),
        ])
        .await?;
    Ok(results.iter().any(|rows| !rows.is_empty()))
}

async fn once(edge: &Edge, runner: &Runner, request: &PollRequest) -> Result<PollResponse, ApiError> {
    let scope = &runner.scope;
    let now = edge.now();
    let lease_until = now + edge.settings.lease;
    // The leases are known by their poll's name, so that they can be given back by it.
    let lease = request.poll.unwrap_or_else(|| PollId::new(now, edge.entropy()));
    let mut batch = vec![runner.guard(), greet(runner, request, now)];
    if request.poll.is_some() {
        batch.push(withdraw::not_withdrawn(scope, lease));
    }
    let fixed = batch.len();
    batch.push(held::renew(scope, request, lease_until, edge.settings.lease / 8));
    batch.push(held::still_held(scope, request));
    batch.push(held::lost(scope, request));
    batch.push(signal::of_runs(
        scope,
        ids(request.held.iter().map(|held| held.run)),
        ids(request.heard.iter().copied()),
    ));
    if request.room > 0 {
        batch.extend(take::take(edge, scope, request, lease, now));
    }
    // Past what only writes.
    let mut results = scope.write(batch).await?.into_iter().skip(fixed + 1);
    let still_held = results.next().unwrap_or_default();
    let still_held: Vec<RunId> = still_held
        .iter()
        .map(|row| row.parse(0))
        .collect::<Result<_, _>>()?;
    let lost = results.next().unwrap_or_default();
    let lost = lost.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?;
    let signals = signal::from_rows(&results.next().unwrap_or_default())?;
    // Past the two statements of `take` that only write.
    let mut taken = results.skip(2);
    let leases = take::leases(
        &taken.next().unwrap_or_default(),
        &taken.next().unwrap_or_default(),
        &taken.next().unwrap_or_default(),
    )?;
    if !leases.is_empty() {
        fail_point::reach(FailPoint::RunsLeased);
        for lease in &leases {
            edge.bells.ring(&Topic::Journal(lease.run), usize::MAX);
        }
    }
    Ok(PollResponse {
        leases,
        lost,
        signals: signals
            .into_iter()
            .filter(|signal| still_held.contains(&signal.run))
            .collect(),
        lease_ms: u64::try_from(edge.settings.lease.as_millis()).unwrap_or(u64::MAX),
        doorbell_key: request
            .doorbell
            .is_some()
            .then(|| edge.tokens.doorbell_key(runner.claims.jti)),
    })
}

/// Remembers the runner: that it lives, where it can be rung, how much room it has.
fn greet(runner: &Runner, request: &PollRequest, now: UnixMillis) -> Statement {
    runner.scope.sql(
        "INSERT INTO runners (workspace_id, name, token_id, doorbell, room, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (workspace_id, name) DO UPDATE SET token_id = excluded.token_id, doorbell = excluded.doorbell, \
         room = excluded.room, seen_at = excluded.seen_at",
        [
            request.runner.as_str().into(),
            runner.claims.jti.into(),
            request.doorbell.clone().into(),
            request.room.into(),
            now.into(),
        ],
    )
}

/// A JSON array of ids.
pub(super) fn ids(ids: impl Iterator<Item = impl serde::Serialize>) -> Value {
    Value::Text(serde_json::to_string(&ids.collect::<Vec<_>>()).unwrap_or_default())
}
