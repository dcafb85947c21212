//! Leasing: which runs a poll takes.
//!
//! Invariant: it is one `UPDATE` inside the poll's batch, so that two runners never take the same run: it counts the epoch up,
//! and from then on every write under an older epoch is refused. A run whose lease has run out is leased like a queued one.

use std::time::Duration;

use roost_shared::{
    PollId, RunId, UnixMillis,
    agent::AgentSpec,
    event::{Event, EventBody},
    wire::{Lease, PollRequest},
};

use super::{journal, poll::ids};
use crate::{
    db::{DbError, Row, Scope, Statement, Value},
    edge::Edge,
    integration::Settings,
};

/// Runs leased by one poll at most.
pub(super) const MAX_LEASES: u32 = 64;
/// Runs among them whose earlier lease had ended without a word: after an outage they come back bit by bit.
const MAX_TAKEN_OVER: u32 = 16;
/// And in a workspace, whoever polls, so many within such a time that have not got further since: what lost its runner at once
/// does not come back to its model at once.
const MOST_COMING_BACK: u32 = 32;
const COMING_BACK: Duration = Duration::from_millis(250);

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

/// The statement that yields a row if there is a run to take; it looks without writing.
pub(super) fn has_some(edge: &Edge, scope: &Scope, request: &PollRequest) -> Statement {
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
    scope.sql(
        leasable,
        [edge.now().into(), only(request), edge.settings.crash_limit.into()],
    )
}

/// Takes up to `room` runs, writes their `leased` events, and reads what the runner needs to begin.
///
/// Agents take turns, each with what has waited longest, in turns of what lost its runner and what did not: a crowd of either
/// holds up none of the other. Runs whose lease has ended without a word more than once come last.
pub(super) fn take(
    edge: &Edge,
    scope: &Scope,
    request: &PollRequest,
    lease: PollId,
    now: UnixMillis,
) -> Vec<Statement> {
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

/// The leases, of the rows of what [`take`] reads.
pub(super) fn leases(runs: &[Row], events: &[Row], history: &[Row]) -> Result<Vec<Lease>, DbError> {
    let mut leases = Vec::with_capacity(runs.len());
    for row in runs {
        let run: RunId = row.parse(0)?;
        let agent: AgentSpec = row.json(2)?;
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
