//! The leases a runner says it holds: which of them still are its own, and until when.
//!
//! Invariant: a lease is renewed only under its own runner and epoch, and lasts at least seven eighths of its time from the
//! latest poll that named it.

use std::time::Duration;

use roost_shared::{
    RunId, UnixMillis,
    wire::{Held, PollRequest},
};

use crate::db::{Scope, Statement, Value};

/// Renews the held leases but for those that were renewed, or taken, a short span ago: a busy runner polls hundreds of times a
/// second. The list is walked and each run of it looked up: what else is due, however much, is not looked at.
pub(super) fn renew(
    scope: &Scope,
    request: &PollRequest,
    lease_until: UnixMillis,
    fresh: Duration,
) -> Statement {
    scope.sql(
        "UPDATE runs SET due_at = ?2 WHERE id IN (SELECT r.id FROM json_each(?3) AS held CROSS JOIN runs r \
         ON r.id = held.value ->> 0 AND r.epoch = held.value ->> 1 WHERE r.workspace_id = ?1 AND r.phase = 'running' \
         AND r.runner = ?4 AND r.due_at < ?5)",
        [
            lease_until.into(),
            held(request),
            request.runner.as_str().into(),
            (lease_until - fresh).into(),
        ],
    )
}

/// The held runs that are under way under this very lease.
pub(super) fn still_held(scope: &Scope, request: &PollRequest) -> Statement {
    scope.sql(
        "SELECT r.id FROM json_each(?2) AS held JOIN runs r ON r.workspace_id = ?1 AND r.id = held.value ->> 0 \
         AND r.epoch = held.value ->> 1 WHERE r.phase = 'running' AND r.runner = ?3",
        [held(request), request.runner.as_str().into()],
    )
}

/// The held runs that somebody else has taken since. One that only ended, slept or was given back is not among them: that
/// was this runner's own doing, and it is about to hear of it.
pub(super) fn lost(scope: &Scope, request: &PollRequest) -> Statement {
    scope.sql(
        "SELECT held.value ->> 0 FROM json_each(?2) AS held LEFT JOIN runs r ON r.workspace_id = ?1 \
         AND r.id = held.value ->> 0 AND r.epoch = held.value ->> 1 WHERE r.id IS NULL",
        [held(request)],
    )
}

/// The held leases as a JSON array of `[run, epoch]`.
fn held(request: &PollRequest) -> Value {
    let held: Vec<(RunId, u64)> = request
        .held
        .iter()
        .map(|Held { run, epoch }| (*run, *epoch))
        .collect();
    Value::Text(serde_json::to_string(&held).unwrap_or_default())
}
