//! The poll: a runner's heartbeat, its request for work and its ear for signals, in one request and one batch.
//!
//! Leasing is one `UPDATE … RETURNING`-shaped step inside that batch, so that two runners never take the same run: it
//! counts the epoch up, and from then on every write under an older epoch is refused. A run whose lease has run out is
//! leased like a queued one. When there is nothing to tell, the request is held until a bell rings or its time is up.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use futures::future::{Either, select};
use roost_shared::{
    PollId, RunId, UnixMillis,
    event::{Event, EventBody},
    fail_point::{self, FailPoint},
    wire::{Lease, PollRequest, PollResponse},
};

use super::{held, journal, offer::Standing, runner::Runner, signal, withdraw};
use crate::{
    bells::Topic,
    db::{DbError, Row, Scope, Statement, Value},
    edge::Edge,
    error::ApiError,
    integration::Settings,
};

/// The longest a poll is held.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Runs leased by one poll at most.
pub(super) const MAX_LEASES: u32 = 64;
/// Runs among them whose earlier lease had ended without a word: after an outage they come back bit by bit.
const MAX_TAKEN_OVER: u32 = 16;
/// And in a workspace, whoever polls, so many within such a time that have not got further since: what lost its runner at once
/// does not come back to its model at once.
const MOST_COMING_BACK: u32 = 32;
const COMING_BACK: Duration = Duration::from_millis(250);
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

/// Of the runs `q`, those a poll restricted to agents may take; the argument is a JSON array of agents, or null.
macro_rules! of_agents {
    ($argument:literal) => {
        concat!(
            "AND (",
            $argument,
            " IS NULL OR (q.agent_id IN (SELECT value FROM json_each(",
            $argument,
            ")) AND NOT EXISTS (SELECT 1 FROM agent_versions s WHERE s.agent_id = q.agent_id ",
            "AND s.version = q.agent_version AND s.spec ->> '$.sprite' = 'run')))"
        )
    };
}

fn only(request: &PollRequest) -> Value {
    match &request.only {
        Some(agents) => ids(agents.iter()),
        None => Value::Null,
    }
}

/// Whether the run `q` may be leased; the arguments are the moment and the crashes after which it may not.
///
/// Of each lane only its oldest run, and only while no other of the lane is under way; one that nobody dares to touch holds
/// nobody up. A lease that ended without a word is taken over at once the first time, and then ever later.
macro_rules! leasable {
    ($now:literal, $crashes:literal) => {
        concat!(
            "q.due_at <= ",
            $now,
            " AND q.phase IN ('queued', 'parked', 'running') AND (q.phase <> 'running' OR (q.crashes + 1 < ",
            $crashes,
            " AND q.due_at + CASE q.crashes WHEN 0 THEN 0 ELSE 500 << 2 * min(q.crashes, 3) END <= ",
            $now,
            ")) AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.conversation_id = q.conversation_id ",
            "AND o.agent_id = q.agent_id AND o.phase IN ('queued', 'running', 'parked', 'waiting') AND o.id <> q.id ",
            "AND (o.phase IN ('running', 'parked') OR (q.phase = 'queued' AND o.id < q.id ",
            "AND o.waits IS NOT 'poisoned'))) "
        )
    };
}

/// Whether a poll would have something to tell.
async fn waiting(edge: &Edge, scope: &Scope, request: &PollRequest) -> Result<bool, DbError> {
    let leasable = if request.room > 0 {
        concat!(
            "SELECT 1 FROM agents a WHERE a.workspace_id = ?1 AND EXISTS (SELECT 1 FROM runs q ",
            "WHERE q.workspace_id = ?1 AND q.agent_id = a.id AND ",
            leasable!("?2", "?4"),
            of_agents!("?3"),
            ") LIMIT 1"
        )
    } else {
        "SELECT 1 WHERE ?1 IS NULL AND ?2 IS NULL AND ?3 IS NULL AND ?4 IS NULL"
    };
    let results = scope
        .read(vec![
            scope.sql(
                leasable,
                [edge.now().into(), only(request), edge.settings.crash_limit.into()],
            ),
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
        batch.extend(take(edge, scope, request, lease, now));
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
    let leases = leases(
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

/// Takes up to `room` runs, writes their `leased` events, and reads what the runner needs to begin.
///
/// Agents take turns, each with what has waited longest, in turns of what lost its runner and what did not: a crowd of either
/// holds up none of the other. Runs whose lease has ended without a word more than once come last.
fn take(edge: &Edge, scope: &Scope, request: &PollRequest, lease: PollId, now: UnixMillis) -> Vec<Statement> {
    let leased = EventBody::Leased {
        runner: request.runner.clone(),
    };
    vec![
        scope.sql(
            concat!(
                "UPDATE runs SET phase = 'running', epoch = epoch + 1, next_seq = next_seq + 1, runner = ?2, ",
                "lease_id = ?3, due_at = ?4, updated_at = ?5, crashes = crashes + (phase = 'running') ",
                "WHERE id IN (SELECT id FROM (SELECT *, ",
                "row_number() OVER (PARTITION BY taken_over ORDER BY last, turn, due_at) AS place ",
                "FROM (SELECT r.id, r.due_at, r.phase = 'running' AS taken_over, ",
                "r.phase = 'running' AND r.crashes > 0 AS last, ",
                "row_number() OVER (PARTITION BY r.agent_id, r.phase = 'running' ORDER BY r.due_at) AS turn ",
                "FROM ",
                phases!("queued", "parked", "running"),
                "p JOIN agents a JOIN runs r ON r.id IN (SELECT q.id FROM runs q ",
                "WHERE q.workspace_id = ?1 AND q.agent_id = a.id AND q.phase = p.phase AND ",
                leasable!("?5", "?8"),
                of_agents!("?7"),
                "ORDER BY q.due_at LIMIT ?6 + 0) WHERE a.workspace_id = ?1)) WHERE NOT taken_over OR place <= min(?9, ",
                "?10 - (SELECT count(*) FROM runs b WHERE b.workspace_id = ?1 AND b.crashes > 0 AND b.due_at > ?5 ",
                "AND b.phase = 'running' AND b.updated_at > ?11)) ORDER BY last, turn, due_at LIMIT ?6 + 0)"
            ),
            [
                request.runner.as_str().into(),
                lease.into(),
                (now + edge.settings.lease).into(),
                now.into(),
                request.room.min(MAX_LEASES).into(),
                only(request),
                edge.settings.crash_limit.into(),
                MAX_TAKEN_OVER.into(),
                MOST_COMING_BACK.into(),
                (now - COMING_BACK).into(),
            ],
        ),
        scope.sql(
            "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT workspace_id, id, next_seq - 1, \
             epoch, ?3, ?4 FROM runs WHERE workspace_id = ?1 AND lease_id = ?2",
            [lease.into(), now.into(), serde_json::to_string(&leased).unwrap_or_default().into()],
        ),
        scope.sql(
            "SELECT r.id, r.epoch, v.spec, i.settings, (SELECT json_group_array(json(body)) FROM (SELECT \
             json_insert(s.body, '$.id', s.id, '$.run', s.run_id) AS body FROM signals s WHERE s.run_id = r.id \
             ORDER BY s.id LIMIT 200)) FROM runs r JOIN agent_versions v ON v.agent_id = r.agent_id \
             AND v.version = r.agent_version JOIN integrations i ON i.id = r.integration_id \
             WHERE r.workspace_id = ?1 AND r.lease_id = ?2 ORDER BY r.id",
            [lease.into()],
        ),
        scope.sql(
            "SELECT e.run_id, e.seq, e.epoch, e.at, e.body FROM runs r JOIN events e ON e.run_id = r.id \
             WHERE r.workspace_id = ?1 AND r.lease_id = ?2 ORDER BY e.run_id, e.seq",
            [lease.into()],
        ),
        journal::history(scope, lease),
    ]
}

fn leases(runs: &[Row], events: &[Row], history: &[Row]) -> Result<Vec<Lease>, DbError> {
    let mut leases = Vec::with_capacity(runs.len());
    for row in runs {
        let run: RunId = row.parse(0)?;
        let agent: roost_shared::agent::AgentSpec = row.json(2)?;
        let settings: Settings = row.json(3)?;
        let of_run = |rows: &&Row| rows.text(0).is_ok_and(|id| id == run.to_string());
        let journal: Vec<Event> = events
            .iter()
            .filter(of_run)
            .map(|row| journal::event(row, 1))
            .collect::<Result<_, _>>()?;
        let history = journal::exchanges_of(run, history)?;
        leases.push(Lease {
            run,
            epoch: row.unsigned(1)?,
            sprite: agent.sprite.sprite(agent.id, run),
            agent,
            git_origin: settings.git_origin(),
            journal,
            history,
            signals: row.json(4)?,
        });
    }
    Ok(leases)
}

/// A JSON array of ids.
fn ids(ids: impl Iterator<Item = impl serde::Serialize>) -> Value {
    Value::Text(serde_json::to_string(&ids.collect::<Vec<_>>()).unwrap_or_default())
}
