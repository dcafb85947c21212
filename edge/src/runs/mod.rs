//! Runs: the queue, leases and journals, and the runner's API over them (`/runner/v1/…`).
//!
//! Invariant: every write to a run by a runner carries, in its SQL, the lease's epoch, the runner and the expected seq;
//! what is stale is refused whole.

pub mod append;
pub mod bell;
pub mod journal;
pub mod poll;
mod runner;
pub mod signal;
pub(crate) mod tick;
mod withdraw;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::post};

use crate::edge::Edge;

/// What a runner may send in one request; the largest is a journal append with a few tool results.
const BODY_LIMIT: usize = 8 << 20;

/// The runner's API.
pub fn router() -> Router<Arc<Edge>> {
    Router::new()
        .route("/runner/v1/poll", post(poll::poll))
        .route("/runner/v1/polls/{poll}/withdraw", post(withdraw::withdraw))
        .route("/runner/v1/runs/{run}/events", post(append::append))
        .route("/runner/v1/tick", post(tick::tick))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}
