//! Ingress: `POST /hooks/{workspace}/{integration}`. One file per channel, verify then normalise; then one batch.
//!
//! Invariant: no 2xx before the delivery and all that follows from it are durable, in one atomic batch; and a
//! provider's event makes at most one delivery, however often and from wherever at once it is sent.

pub mod body;
mod changed;
pub mod channel;
mod conversation;
pub mod generic;
pub mod github;
mod lane;
#[cfg(test)]
mod mutation;
pub(crate) mod payloads;
mod plan;
mod receive;
pub mod replay;
pub mod route;
pub mod signature;
pub mod sweep;
pub mod telegram;
pub mod text;

use std::sync::Arc;

use axum::{Router, routing::post};

use crate::edge::Edge;

/// The ingress route.
pub fn router() -> Router<Arc<Edge>> {
    Router::new().route("/hooks/{workspace}/{integration}", post(receive::receive))
}
