//! Repositories to clone: bare ones, as files, which is git's "dumb" HTTP protocol
//! ([gitprotocol-http](https://git-scm.com/docs/gitprotocol-http)). They need `git update-server-info` once.

use std::{path::Component, sync::Arc};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};

use super::{Shared, routes::refusal};

pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, path)): Path<(String, String, String)>,
) -> Response {
    let missing = || refusal(StatusCode::NOT_FOUND, "Not Found");
    let Some(repositories) = &shared.config.repositories else {
        return missing();
    };
    let inside = std::path::Path::new(&owner).join(&name).join(&path);
    let plain = inside
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || !name.ends_with(".git") {
        return missing();
    }
    match tokio::fs::read(repositories.join(inside)).await {
        Ok(bytes) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Err(_) => missing(),
    }
}
