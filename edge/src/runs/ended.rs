//! Which runs have ended, for runners that tidy up after them.

use axum::Json;
use roost_shared::wire::{EndedRequest, EndedResponse};

use super::runner::Runner;
use crate::{
    db::{DbError, Value},
    error::ApiError,
};

/// Runs asked for at once.
const MOST: usize = 500;

/// `POST /runner/v1/runs/ended`.
pub(super) async fn ended(
    runner: Runner,
    Json(request): Json<EndedRequest>,
) -> Result<Json<EndedResponse>, ApiError> {
    if request.runs.len() > MOST {
        return Err(ApiError::invalid("ask for at most 500 runs at once"));
    }
    let scope = &runner.scope;
    let asked = Value::Text(serde_json::to_string(&request.runs).unwrap_or_default());
    let ended = scope.sql(
        "SELECT id FROM runs WHERE workspace_id = ?1 AND phase IN ('completed', 'failed', 'cancelled') \
         AND id IN (SELECT value FROM json_each(?2))",
        [asked],
    );
    let mut results = scope.read(vec![runner.guard(), ended]).await?.into_iter().skip(1);
    let rows = results
        .next()
        .ok_or_else(|| DbError::Sql("the database answered with too few results".into()))?;
    let ended = rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?;
    Ok(Json(EndedResponse { ended }))
}
