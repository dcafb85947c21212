//! Is it well? And the gate that lets nobody at a database with another schema than ours.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::Next,
    response::Response,
    routing::get,
};
use serde_json::{Value, json};

use crate::{edge::Edge, error::ApiError};

/// `GET /healthz`: 200 when this edge can serve, 503 with the reason when it can't.
pub fn router() -> Router<Arc<Edge>> {
    Router::new().route("/healthz", get(health))
}

async fn health(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, ApiError> {
    edge.require_schema().await?;
    Ok(Json(
        json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }),
    ))
}

/// Answers 503 for everything until the database has the schema this edge was built for.
pub(crate) async fn schema_gate(
    State(edge): State<Arc<Edge>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    edge.require_schema().await?;
    Ok(next.run(request).await)
}
