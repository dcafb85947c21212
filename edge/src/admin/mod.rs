//! The web admin: server-rendered pages.

use std::sync::Arc;

use axum::Router;

use crate::edge::Edge;

/// The admin's routes.
pub fn router() -> Router<Arc<Edge>> {
    Router::new()
}
