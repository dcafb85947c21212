//! The checkpoint endpoints.
//!
//! Invariant: what can be refused is refused before the first line of progress; the last line is `complete` or `error`. What
//! was begun is done whole, also when the one who asked for it leaves.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{CheckpointError, Reason, all, capture::Found, drop_one, put_back, take};
use crate::sprite::{
    checkpoint::{Checkpoint, CreateCheckpoint, Progress},
    host::{Host, error::ApiError, ndjson},
};

const MAX_COMMENT_BYTES: usize = 4 << 10;
const LINES: usize = 16;

/// `POST /v1/sprites/{name}/checkpoint`.
pub(in crate::sprite::host) async fn create(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let request = match body.trim_ascii() {
        b"" => CreateCheckpoint::default(),
        body => serde_json::from_slice(body).map_err(|error| ApiError::bad_request(error.to_string()))?,
    };
    let comment = request.comment.filter(|comment| !comment.is_empty());
    if comment
        .as_ref()
        .is_some_and(|comment| comment.len() > MAX_COMMENT_BYTES)
    {
        return Err(ApiError::bad_request(
            "the comment is longer than 4 KiB; shorten it",
        ));
    }
    let (say, said) = mpsc::channel(LINES);
    tokio::spawn(async move {
        info(&say, "Creating checkpoint...".into()).await;
        match take(&sprite, Reason::Asked(comment), &host.store.config().limits).await {
            Ok(taken) => {
                info(&say, describe(&taken.found)).await;
                complete(&say, format!("Checkpoint {} created", taken.checkpoint.id)).await;
            }
            Err(error) => fail(&say, &error).await,
        }
    });
    Ok(ndjson::answer(said))
}

/// `POST /v1/sprites/{name}/checkpoints/{id}/restore`.
pub(in crate::sprite::host) async fn restore(
    State(host): State<Host>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    if id == super::CURRENT || all(&sprite).await?.iter().all(|info| info.id != id) {
        return Err(CheckpointError::NotFound { id }.into());
    }
    let (say, said) = mpsc::channel(LINES);
    tokio::spawn(async move {
        info(
            &say,
            format!("Restoring checkpoint {id}: everything that runs ends..."),
        )
        .await;
        match put_back(&sprite, id.clone(), &host.store.config().limits).await {
            Ok(done) => {
                let changed = format!("{} entries put back, {} removed", done.written, done.removed);
                info(&say, changed).await;
                complete(&say, format!("Checkpoint {id} restored")).await;
            }
            Err(error) => fail(&say, &error).await,
        }
    });
    Ok(ndjson::answer(said))
}

#[derive(Debug, Deserialize)]
pub(in crate::sprite::host) struct ListQuery {
    #[serde(default)]
    history: String,
}

/// `GET /v1/sprites/{name}/checkpoints?history=`: with `history`, those whose state was once restored to that checkpoint.
pub(in crate::sprite::host) async fn list(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Checkpoint>>, ApiError> {
    let mut found = all(&*host.store.get(&name)?).await?;
    if !query.history.is_empty() {
        found.retain(|info| info.passed(&query.history));
    }
    Ok(Json(found.into_iter().map(super::Info::wire).collect()))
}

/// `GET /v1/sprites/{name}/checkpoints/{id}`.
pub(in crate::sprite::host) async fn show(
    State(host): State<Host>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Checkpoint>, ApiError> {
    let found = all(&*host.store.get(&name)?).await?;
    let info = found.into_iter().find(|info| info.id == id);
    let info = info.ok_or(CheckpointError::NotFound { id })?;
    Ok(Json(info.wire()))
}

/// `DELETE /v1/sprites/{name}/checkpoints/{id}`.
pub(in crate::sprite::host) async fn remove(
    State(host): State<Host>,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    drop_one(&host.store.get(&name)?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(found: &Found) -> String {
    let mut text = format!("{} entries, {} bytes", found.entries, found.bytes);
    if found.skipped > 0 {
        text.push_str(&format!(
            "; {} left out: {}",
            found.skipped,
            found.notes.join(", ")
        ));
    }
    text
}

async fn info(say: &mpsc::Sender<Progress>, data: String) {
    line(say, "info", Some(data), None).await;
}

async fn complete(say: &mpsc::Sender<Progress>, data: String) {
    line(say, "complete", Some(data), None).await;
}

async fn fail(say: &mpsc::Sender<Progress>, error: &CheckpointError) {
    tracing::warn!(%error, "a checkpoint or restore failed");
    line(say, "error", None, Some(error.to_string())).await;
}

async fn line(say: &mpsc::Sender<Progress>, kind: &str, data: Option<String>, error: Option<String>) {
    let progress = Progress {
        kind: kind.to_owned(),
        data,
        error,
        time: Some(Timestamp::now().to_string()),
    };
    // Nobody may be listening any more.
    let _ = say.send(progress).await;
}
