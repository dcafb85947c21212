//! The public REST API.

pub mod health;

use std::sync::Arc;

use axum::Router;

use crate::edge::Edge;

/// The public API's routes, below `/api/v1`.
pub fn router() -> Router<Arc<Edge>> {
    Router::new()
}
