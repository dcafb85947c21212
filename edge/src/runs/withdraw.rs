//! Withdrawing a poll whose answer its runner never had: what it leased goes back to the queue, in one batch with a mark
//! that keeps the poll, should it still be under way somewhere, from leasing anything more.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
};
use roost_shared::{PollId, RunId, TokenId, event::EventBody, run::Phase, wire::WithdrawResponse};

use super::{bell, runner::Runner};
use crate::{
    auth::spent,
    bells::Topic,
    db::{DbError, Rows, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// The refusal of a poll that was withdrawn.
const POLL_WITHDRAWN: &str = "poll_withdrawn";
/// How long a withdrawn poll is remembered: longer than any host lets a request live.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Holds a poll's batch back once the poll is withdrawn.
pub(super) fn not_withdrawn(scope: &Scope, poll: PollId) -> Statement {
    spent::not_spent(scope, POLL_WITHDRAWN, poll)
}

/// `POST /runner/v1/polls/{poll}/withdraw`.
pub(super) async fn withdraw(
    State(edge): State<Arc<Edge>>,
    runner: Runner,
    Path(poll): Path<PollId>,
) -> Result<Json<WithdrawResponse>, ApiError> {
    let mut batch = vec![runner.guard()];
    batch.extend(give_back(&edge, &runner.scope, poll, runner.claims.jti));
    let results = runner.scope.write(batch).await?;
    let given_back = announce(&edge, &runner.scope, results)?;
    Ok(Json(WithdrawResponse { given_back }))
}

/// Withdraws a poll that went away while a webhook leased a run for it.
pub(super) fn unheard(edge: &Arc<Edge>, scope: &Scope, poll: PollId, token: TokenId) {
    let (edge, scope) = (edge.clone(), scope.clone());
    let background = edge.ports.background.clone();
    background.spawn(Box::pin(async move {
        let given_back = scope
            .write(give_back(&edge, &scope, poll, token))
            .await
            .and_then(|results| announce(&edge, &scope, results));
        if let Err(error) = given_back {
            tracing::warn!(
                "a lease that nobody heard of is left to its runner to withdraw, or to run out: {error}"
            );
        }
    }));
}

/// The statements that withdraw a poll; the rows of the last name the runs it had taken.
fn give_back(edge: &Edge, scope: &Scope, poll: PollId, token: TokenId) -> Vec<Statement> {
    let now = edge.now();
    let released = EventBody::Released {
        reason: "its runner went away before it heard of it".into(),
    };
    let released = serde_json::to_string(&released).unwrap_or_default();
    vec![
        spent::spend(scope, poll, now, now + REMEMBERED),
        scope.sql(
            "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT r.workspace_id, r.id, r.next_seq, \
             r.epoch, ?4, ?5 FROM runs r JOIN runners n ON n.workspace_id = r.workspace_id AND n.name = r.runner \
             WHERE r.workspace_id = ?1 AND r.lease_id = ?2 AND r.phase = 'running' AND n.token_id = ?3",
            [poll.into(), token.into(), now.into(), released.into()],
        ),
        scope.sql(
            "UPDATE runs SET phase = ?5, next_seq = next_seq + 1, due_at = ?4, lease_id = NULL, updated_at = ?4 \
             WHERE workspace_id = ?1 AND lease_id = ?2 AND phase = 'running' AND runner IN \
             (SELECT name FROM runners WHERE workspace_id = ?1 AND token_id = ?3) RETURNING id",
            [poll.into(), token.into(), now.into(), Phase::Queued.as_str().into()],
        ),
    ]
}

/// Tells those who wait of the runs that were given back.
fn announce(edge: &Arc<Edge>, scope: &Scope, mut results: Vec<Rows>) -> Result<Vec<RunId>, DbError> {
    let given_back = results.pop().unwrap_or_default();
    let given_back: Vec<RunId> = given_back
        .iter()
        .map(|row| row.parse(0))
        .collect::<Result<_, _>>()?;
    for run in &given_back {
        edge.bells.ring(&Topic::Journal(*run), usize::MAX);
    }
    if !given_back.is_empty() {
        bell::announce(edge, scope, &given_back);
    }
    Ok(given_back)
}
