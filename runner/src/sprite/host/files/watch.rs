//! Watching files over a WebSocket.
//!
//! Invariant: `subscribed` is the first message and says that from now on nothing is missed; what is missed all the same, because
//! too much happened or too many directories came, is an `error` message. A client that does not read is not waited for with
//! memory: the kernel's queue fills, and overflows with such a message. Watches end with their connection.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        Path, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
};
use futures::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{io::unix::AsyncFd, sync::OwnedSemaphorePermit, time};

use super::{Host, blocking, find, inotify::Watcher, shown};
use crate::sprite::{
    host::{
        Limits,
        error::{ApiError, Failure, FileError},
        local::LocalSprite,
        resolve::{LastLink, Parents},
    },
    wire_files::{WatchMessage, WatchRequest},
};

const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(15);
const DEAD_AFTER: Duration = Duration::from_secs(45);
const MAX_REQUEST_BYTES: usize = 1 << 20;

type ToClient = SplitSink<WebSocket, Message>;

/// `GET /fs/watch`, a WebSocket.
pub(in crate::sprite::host) async fn watch(
    State(host): State<Host>,
    Path(name): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let sprite = host.store.get(&name)?;
    let limits = host.store.config().limits.clone();
    let Ok(permit) = Arc::clone(&host.watches).try_acquire_owned() else {
        let message = "too many clients watch files on this host; close a watch first";
        return Err(ApiError::limit("concurrent_watch_limit_exceeded", message, limits.watches).into());
    };
    let mut closing = host.closing.subscribe();
    let upgrade = upgrade
        .max_message_size(MAX_REQUEST_BYTES)
        .max_frame_size(MAX_REQUEST_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = carry(socket, sprite, limits, permit) => {}
            // An error means the host is gone.
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }))
}

async fn carry(socket: WebSocket, sprite: Arc<LocalSprite>, limits: Limits, _permit: OwnedSemaphorePermit) {
    let (mut to_client, mut from_client) = socket.split();
    let asked = time::timeout(SUBSCRIBE_WITHIN, async {
        loop {
            match from_client.next().await {
                Some(Ok(Message::Text(text))) => return Some(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    });
    let Ok(Some(asked)) = asked.await else { return };
    let subscribed = match serde_json::from_str(&asked) {
        Ok(request) => blocking(move || subscribe(&sprite, request, &limits)).await,
        Err(error) => Err(FileError::from_message(format!("the subscription can't be read: {error}")).into()),
    };
    let ended = match subscribed {
        Ok((watcher, paths)) => {
            let silent = async {
                while let Ok(Some(Ok(message))) = time::timeout(DEAD_AFTER, from_client.next()).await {
                    if matches!(message, Message::Close(_)) {
                        break;
                    }
                }
            };
            tokio::select! {
                ended = tell(watcher, paths, &mut to_client) => ended,
                () = silent => return,
            }
        }
        Err(failure) => failure.to_string(),
    };
    // Neither message finds anybody if the client is gone, which is all there is to say then.
    let _ = send(&mut to_client, &[WatchMessage::Error { message: ended }]).await;
    let close = CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    };
    let _ = to_client.send(Message::Close(Some(close))).await;
}

fn subscribe(
    sprite: &LocalSprite,
    request: WatchRequest,
    limits: &Limits,
) -> Result<(Watcher, Vec<String>), FileError> {
    let WatchRequest::Subscribe {
        paths,
        recursive,
        working_dir,
    } = request;
    if paths.is_empty() {
        return Err(FileError::from_message("say which paths to watch"));
    }
    let mut watcher = Watcher::new(sprite.root.clone(), recursive, limits)?;
    let mut watched = Vec::new();
    for path in paths {
        let place = find(
            sprite,
            &path,
            working_dir.as_deref(),
            LastLink::Follow,
            Parents::MustExist,
        )?;
        watcher.add(&place)?;
        watched.push(shown(&place));
    }
    Ok((watcher, watched))
}

/// Tells the client what happens; returns why there is nothing more to tell.
async fn tell(mut watcher: Watcher, paths: Vec<String>, to_client: &mut ToClient) -> String {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for want of a promise that an Arc<OwnedFd> keeps: it stays open"
    )]
    let kernel: AsyncFd<Arc<OwnedFd>> = match AsyncFd::new(watcher.kernel()) {
        Ok(kernel) => kernel,
        Err(error) => return format!("the host can't wait for events: {error}"),
    };
    let mut messages = vec![WatchMessage::Subscribed { paths }];
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        if send(to_client, &messages).await.is_err() {
            return "the connection is gone".to_owned();
        }
        if watcher.is_empty() {
            return "what was watched is gone".to_owned();
        }
        if messages.is_empty() {
            tokio::select! {
                ready = kernel.readable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(error) => return format!("the host can't wait for events: {error}"),
                },
                _ = pings.tick() => {
                    if to_client.send(Message::Ping(Bytes::new())).await.is_err() {
                        return "the connection is gone".to_owned();
                    }
                }
            }
        }
        let read = blocking(move || {
            let read = watcher
                .read()
                .map_err(|errno| FileError::from_message(errno.to_string()))?;
            Ok((watcher, read))
        });
        match read.await {
            Ok((same, read)) => (watcher, messages) = (same, read),
            Err(failure) => return failure.to_string(),
        }
    }
}

async fn send(to_client: &mut ToClient, messages: &[WatchMessage]) -> Result<(), axum::Error> {
    for message in messages {
        let text = serde_json::to_string(message).map_err(axum::Error::new)?;
        to_client.feed(Message::Text(text.into())).await?;
    }
    to_client.flush().await
}
