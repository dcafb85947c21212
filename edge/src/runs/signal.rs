//! Signals: what a run is told from outside. They wait in a table of their own, because only the runner that holds the
//! lease writes the journal of a run under way; it hears them with its lease, a poll or an append.
//!
//! Invariant: a signal is gone in the append that takes it in, or when the run has ended; a message among them is then
//! handed on to a run of its own. What only the run itself can use stays with one that failed, for it may be tried again. So none
//! is lost and none is taken in twice.

use roost_shared::{
    RunId, SignalId, UnixMillis,
    run::Phase,
    wire::{Signal, SignalBody},
};

use crate::{
    db::{DbError, Row, Scope, Statement, Value},
    edge::Edge,
};

/// The refusal of an append that takes in a signal that is not there any more, or pauses for one.
pub(crate) const WITHDRAWN: &str = "signal_withdrawn";
/// The refusal of an append that ends the run, or asks, while a message waits to be heard.
pub(super) const UNHEARD: &str = "unheard";

/// The signals of some runs, but for those that were heard, the oldest of them; both are JSON arrays of ids.
pub(super) fn of_runs(scope: &Scope, runs: Value, heard: Value) -> Statement {
    scope.sql(
        "SELECT id, run_id, body FROM signals WHERE workspace_id = ?1 \
         AND run_id IN (SELECT value FROM json_each(?2)) \
         AND id NOT IN (SELECT value FROM json_each(?3)) ORDER BY id LIMIT 200",
        [runs, heard],
    )
}

/// The signals of one run, in the same columns.
pub(super) fn of_run(scope: &Scope, run: RunId) -> Statement {
    scope.sql(
        "SELECT id, run_id, body FROM signals WHERE workspace_id = ?1 AND run_id = ?2 ORDER BY id LIMIT 200",
        [run.into()],
    )
}

/// The rows of [`of_runs`].
pub(super) fn from_rows(rows: &[Row]) -> Result<Vec<Signal>, DbError> {
    rows.iter()
        .map(|row| {
            Ok(Signal {
                id: row.parse(0)?,
                run: row.parse(1)?,
                body: row.json(2)?,
            })
        })
        .collect()
}

/// Tells a run something, once: the same again while it has not been heard changes nothing.
pub(crate) fn send(edge: &Edge, scope: &Scope, run: RunId, body: &SignalBody) -> Statement {
    scope.sql(
        "INSERT INTO signals (workspace_id, id, run_id, kind, body, created_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6 \
         WHERE NOT EXISTS (SELECT 1 FROM signals WHERE workspace_id = ?1 AND run_id = ?3 AND body = ?5)",
        [
            SignalId::new(edge.now(), edge.entropy()).into(),
            run.into(),
            body.kind().into(),
            serde_json::to_string(body).unwrap_or_default().into(),
            edge.now().into(),
        ],
    )
}

/// The signals an append takes in are there, and are gone with it.
pub(crate) fn take_in(scope: &Scope, run: RunId, signals: &[SignalId]) -> [Statement; 2] {
    let ids = Value::Text(serde_json::to_string(signals).unwrap_or_default());
    [
        scope.guard(
            WITHDRAWN,
            "SELECT 1 WHERE (SELECT count(*) FROM signals WHERE workspace_id = ?1 AND run_id = ?2 \
             AND id IN (SELECT value FROM json_each(?3))) = json_array_length(?3)",
            [run.into(), ids.clone()],
        ),
        scope.sql(
            "DELETE FROM signals WHERE workspace_id = ?1 AND run_id = ?2 AND id IN (SELECT value FROM json_each(?3))",
            [run.into(), ids],
        ),
    ]
}

/// Holds a batch back while a message for the run waits to be heard.
pub(super) fn all_heard(scope: &Scope, run: RunId) -> Statement {
    scope.guard(
        UNHEARD,
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM signals WHERE workspace_id = ?1 AND run_id = ?2 AND kind = 'steer')",
        [run.into()],
    )
}

/// Holds a batch back that pauses the run where nobody wants that any more.
pub(super) fn pause_stands(scope: &Scope, run: RunId) -> Statement {
    scope.guard(
        WITHDRAWN,
        "SELECT 1 FROM signals WHERE workspace_id = ?1 AND run_id = ?2 AND kind = 'pause' LIMIT 1",
        [run.into()],
    )
}

/// Takes back what asked the run to pause; its rows are what was taken back.
pub(super) fn forget_pauses(scope: &Scope, run: RunId) -> Statement {
    scope.sql(
        "DELETE FROM signals WHERE workspace_id = ?1 AND run_id = ?2 AND kind = 'pause' RETURNING id",
        [run.into()],
    )
}

/// Whether a signal does not stay with the run that ended, in the phase `?4`.
macro_rules! goes_on {
    () => {
        "(?4 <> 'failed' OR body ->> '$.change' IS 'said')"
    };
}

/// For a run that ends in this phase: messages it has not heard become one run after it, the first of them as its beginning, and
/// what else it was told is forgotten; but one that failed still hears, when it is tried again, what it was answered and what became
/// of messages it had read. Part of the batch that ends it.
pub(super) fn hand_on(edge: &Edge, scope: &Scope, run: RunId, end: Phase, now: UnixMillis) -> Vec<Statement> {
    let next: Value = RunId::new(now, edge.entropy()).into();
    let end = Value::from(end.as_str());
    vec![
        scope.sql(
            "DELETE FROM signals WHERE workspace_id = ?1 AND run_id = ?2 AND kind <> 'steer' \
             AND NOT (?3 = 'failed' AND kind = 'answer')",
            [run.into(), end.clone()],
        ),
        scope.sql(
            "INSERT INTO runs (workspace_id, id, work_item_id, agent_id, agent_version, conversation_id, integration_id, \
             trust, phase, next_seq, due_at, created_at, updated_at) SELECT ?1, ?3, s.body ->> '$.work_item.id', \
             r.agent_id, a.version, r.conversation_id, r.integration_id, s.body ->> '$.work_item.actor.trust', 'queued', \
             1, ?4, ?4, ?4 FROM signals s JOIN runs r ON r.id = s.run_id JOIN agents a ON a.id = r.agent_id \
             WHERE s.workspace_id = ?1 AND s.run_id = ?2 AND s.body ->> '$.change' IS 'said' ORDER BY s.id LIMIT 1",
            [run.into(), next.clone(), now.into()],
        ),
        scope.sql(
            "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT ?1, n.id, 0, 0, ?4, \
             json_object('type', 'opened', 'work_item', s.body -> '$.work_item', 'agent', n.agent_id, \
             'agent_version', n.agent_version) FROM runs n JOIN signals s ON s.run_id = ?2 \
             AND s.body ->> '$.work_item.id' = n.work_item_id WHERE n.workspace_id = ?1 AND n.id = ?3",
            [run.into(), next.clone(), now.into()],
        ),
        scope.sql(
            concat!(
                "UPDATE joined SET run_id = ?3 WHERE workspace_id = ?1 AND run_id = ?2 AND work_item_id IN \
                 (SELECT body ->> '$.work_item.id' FROM signals WHERE run_id = ?2 AND ",
                goes_on!(),
                ")"
            ),
            [run.into(), next.clone(), end.clone()],
        ),
        scope.sql(
            concat!(
                "DELETE FROM signals WHERE workspace_id = ?1 AND run_id = ?2 AND ",
                goes_on!(),
                " AND (body ->> '$.work_item.id' IN (SELECT work_item_id FROM runs WHERE id = ?3) \
                 OR NOT EXISTS (SELECT 1 FROM runs WHERE id = ?3))"
            ),
            [run.into(), next.clone(), end.clone()],
        ),
        scope.sql(
            concat!(
                "UPDATE signals SET run_id = ?3 WHERE workspace_id = ?1 AND run_id = ?2 AND ",
                goes_on!()
            ),
            [run.into(), next, end],
        ),
    ]
}
