//! Runs: the queue, leases and journals, and the runner's API over them (`/runner/v1/…`).
//!
//! Invariant: every write to a run by a runner carries, in its SQL, the lease's epoch, the runner and the expected seq;
//! what is stale is refused whole.

/// A table of these phases in SQL, by which an index that begins with a phase is entered once for each.
macro_rules! phases {
    ($first:literal $(, $other:literal)*) => {
        concat!("(SELECT '", $first, "' AS phase" $(, " UNION ALL SELECT '", $other, "'")*, ") ")
    };
}

pub mod append;
pub mod bell;
pub mod control;
mod credential;
mod ended;
mod held;
pub mod journal;
pub(crate) mod offer;
mod overdue;
pub mod poll;
mod presence;
mod runner;
pub mod signal;
mod take;
pub(crate) mod tick;
mod withdraw;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::post};

use crate::edge::Edge;

/// What a runner may send in one request; the largest is a journal append with a few tool results.
const BODY_LIMIT: usize = 8 << 20;

macro_rules! routes {
    ($($path:literal $handler:path;)*) => {
        /// Every route of a runner: all are POSTs. `docs/reference/api.md` describes exactly these.
        pub const ROUTES: &[&str] = &[$(concat!("/runner/v1", $path)),*];

        fn table() -> Router<Arc<Edge>> {
            Router::new()$(.route(concat!("/runner/v1", $path), post($handler)))*
        }
    };
}

routes! {
    "/poll" poll::poll;
    "/presence" presence::presence;
    "/polls/{poll}/withdraw" withdraw::withdraw;
    "/runs/{run}/events" append::append;
    "/runs/{run}/credentials" credential::give;
    "/runs/ended" ended::ended;
    "/tick" tick::tick;
}

/// The runner's API.
pub fn router() -> Router<Arc<Edge>> {
    table().layer(DefaultBodyLimit::max(BODY_LIMIT))
}
