//! The exec endpoints: start a command, attach to one, list them.
//!
//! Invariant: a command that was started is in the sprite's table of sessions, whether or not its client is still there.

use std::sync::Arc;

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
    connection::{self, Greeting},
    error::ApiError,
    local::LocalSprite,
    output::Reader,
    request::Request,
    session::{Client, Session},
};
use crate::sprite::wire::SessionList;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

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
    if let Some(id) = request.attach {
        return join(&host, &sprite, &id, upgrade);
    }
    let launched = launch(&host, sprite, request).await?;
    Ok(connection::serve(
        upgrade,
        launched.session,
        launched.reader,
        launched.client,
        Greeting {
            owner: true,
            size: launched.size,
        },
        host.closing.subscribe(),
    ))
}

/// A command that was started, and its first client.
pub(super) struct Launched {
    pub(super) session: Arc<Session>,
    pub(super) reader: Reader,
    pub(super) client: Client,
    /// Rows and columns it was started with.
    pub(super) size: (u16, u16),
}

/// Starts what a request asks for.
pub(super) async fn launch(
    host: &Host,
    sprite: Arc<LocalSprite>,
    request: Request,
) -> Result<Launched, ApiError> {
    let size = request.size;
    let (command, terms) = request.command(&sprite, &host.store.config().path)?;
    // In a task of its own: a client that goes away now must not leave a command that nobody knows.
    let starting = tokio::spawn(async move { sprite.start(command, terms).await });
    let started = starting
        .await
        .map_err(|error| ApiError::internal("the command was not started", &error.into()))?;
    let (session, reader, client) = started?;
    Ok(Launched {
        session,
        reader,
        client,
        size,
    })
}

/// `GET /exec/{session}` as WebSocket: history, then live.
pub(super) async fn attach(
    State(host): State<Host>,
    Path((name, id)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(error.to_string()))?;
    join(&host, &sprite, &id, upgrade)
}

fn join(
    host: &Host,
    sprite: &LocalSprite,
    id: &str,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let session = sprite.sessions.get(id)?;
    let (client, reader) = (session.client(), session.output.reader());
    let greeting = Greeting {
        owner: false,
        size: (0, 0),
    };
    Ok(connection::serve(
        upgrade,
        session,
        reader,
        client,
        greeting,
        host.closing.subscribe(),
    ))
}
