//! The exec endpoints: start a command, attach to one, list them.
//!
//! Invariant: a command that was started is in the sprite's table of sessions, whether or not its client is still there.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};

use super::{
    Host,
    connection::{self, Greeting, Joined},
    error::ApiError,
    local::LocalSprite,
    ports::Ports,
    request::Request,
};
use crate::sprite::wire::SessionList;

/// What a WebSocket is accepted with, or why the request is none.
pub(super) type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `GET /exec`: as WebSocket starts a command (or attaches, with `id`), else lists the sessions.
pub(super) async fn start_or_list(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(WebSocketUpgradeRejection::InvalidConnectionHeader(_)) => {
            let sessions = sprite.sessions.list();
            return Ok(Json(SessionList {
                count: sessions.len(),
                sessions,
            })
            .into_response());
        }
        Err(other) => return Err(ApiError::bad_request(other.to_string())),
    };
    let request = Request::parse(query)?;
    let joined = match &request.attach {
        Some(id) => join(&sprite, id)?,
        None => launch(&host, sprite, request).await?,
    };
    Ok(connection::serve(upgrade, joined, host.closing.subscribe()))
}

/// `GET /exec/{session}` as WebSocket: history, then live.
pub(super) async fn attach(
    State(host): State<Host>,
    Path((name, id)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let joined = join(&sprite, &id)?;
    Ok(connection::serve(upgrade, joined, host.closing.subscribe()))
}

/// Starts what a request asks for; the one who asked is its first client.
pub(super) async fn launch(
    host: &Host,
    sprite: Arc<LocalSprite>,
    request: Request,
) -> Result<Joined, ApiError> {
    let size = request.size;
    let (command, terms) = request.command(&sprite, &host.store.config().path)?;
    let ports = Ports::follow(&sprite, BTreeSet::new());
    // In a task of its own: a client that goes away now must not leave a command that nobody knows.
    let starting = tokio::spawn(async move { sprite.start(command, terms).await });
    let started = starting
        .await
        .map_err(|error| ApiError::internal("the command was not started", &error.into()))?;
    let (session, reader, client) = started?;
    Ok(Joined {
        session,
        reader,
        client,
        greeting: Greeting { owner: true, size },
        ports,
    })
}

/// Joins a session that exists.
pub(super) fn join(sprite: &Arc<LocalSprite>, id: &str) -> Result<Joined, ApiError> {
    let session = sprite.sessions.get(id)?;
    let (client, reader) = (session.client(), session.output.reader());
    Ok(Joined {
        session,
        reader,
        client,
        greeting: Greeting {
            owner: false,
            size: (0, 0),
        },
        ports: Ports::follow(sprite, BTreeSet::new()),
    })
}
