//! An exec connection: the WebSocket between a client and a session.
//!
//! Invariant: `session_info` is the first message; then the history, live output and the exit, in order. A client that does
//! not read is waited for (its command with it), a client that is silent for 45 s is gone.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    http::HeaderValue,
    response::Response,
};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::{sync::watch, time};

use super::{
    output::{Read, Reader},
    session::{Client, Session},
};
use crate::sprite::{
    Signal,
    frame::Frame,
    wire::{ClientMessage, ServerMessage},
};

const PING_EVERY: Duration = Duration::from_secs(15);
const DEAD_AFTER: Duration = Duration::from_secs(45);
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How much is handed to the socket before it is flushed.
const BATCH_BYTES: usize = 512 << 10;
const WRITE_BUFFER_BYTES: usize = 256 << 10;
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Close codes from here on are an application's own; a terminal's exit code is added to it.
const CLOSE_FAILED: u16 = 4000;

/// What `session_info` says beyond the session itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greeting {
    /// Whether this client started the session.
    pub(super) owner: bool,
    /// Rows and columns it was started with.
    pub(super) size: (u16, u16),
}

/// Accepts the WebSocket and carries the session's streams until it ends, the client leaves or the host closes.
pub(super) fn serve(
    upgrade: WebSocketUpgrade,
    session: Arc<Session>,
    reader: Reader,
    client: Client,
    greeting: Greeting,
    closing: watch::Receiver<bool>,
) -> Response {
    let upgrade = upgrade
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES);
    let mut response =
        upgrade.on_upgrade(move |socket| carry(socket, session, reader, client, greeting, closing));
    // The official Go client sends signals over the WebSocket only to hosts that say they take them there.
    response
        .headers_mut()
        .insert("x-sprite-capabilities", HeaderValue::from_static("signal"));
    response
}

async fn carry(
    socket: WebSocket,
    session: Arc<Session>,
    reader: Reader,
    _client: Client,
    greeting: Greeting,
    mut closing: watch::Receiver<bool>,
) {
    let (mut to_client, mut from_client) = socket.split();
    let ended = {
        let mut sent = std::pin::pin!(send(&session, reader, greeting, &mut to_client));
        tokio::select! {
            ended = &mut sent => ended,
            () = receive(&session, &mut from_client) => false,
            // An error means the host is gone. Its commands have ended by now, and their clients hear of it.
            () = async { drop(closing.wait_for(|closing| *closing).await) } => {
                time::timeout(CLOSE_WITHIN, sent).await.unwrap_or(false)
            }
        }
    };
    if ended {
        // Our close frame is out; a client that wants to leave the socket open gets a moment.
        let _ = time::timeout(CLOSE_WITHIN, async {
            while let Some(Ok(_)) = from_client.next().await {}
        })
        .await;
    }
}

/// Sends output until the exit; `false` when the client is gone before that.
async fn send<S>(session: &Session, mut reader: Reader, greeting: Greeting, to_client: &mut S) -> bool
where
    S: Sink<Message, Error = axum::Error> + Unpin,
{
    let info = ServerMessage::SessionInfo {
        session_id: session.id.clone(),
        command: session.command.clone(),
        created: session.created.as_second(),
        rows: greeting.size.0,
        cols: greeting.size.1,
        is_owner: greeting.owner,
        tty: session.tty,
    };
    let Some(info) = text(&info) else { return false };
    if to_client.send(info).await.is_err() {
        return false;
    }
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let read = tokio::select! {
            read = reader.next(BATCH_BYTES) => read,
            _ = pings.tick() => {
                if to_client.send(Message::Ping(Bytes::new())).await.is_err() {
                    return false;
                }
                continue;
            }
        };
        match read {
            Read::Chunks(chunks) => {
                for chunk in chunks {
                    if to_client.feed(Message::Binary(chunk)).await.is_err() {
                        return false;
                    }
                }
                if to_client.flush().await.is_err() {
                    return false;
                }
            }
            Read::End(exit) => return send_exit(session.tty, exit, to_client).await,
        }
    }
}

async fn send_exit<S>(tty: bool, exit: i32, to_client: &mut S) -> bool
where
    S: Sink<Message, Error = axum::Error> + Unpin,
{
    let byte = u8::try_from(exit).unwrap_or(255);
    let message = if tty {
        text(&ServerMessage::Exit { exit_code: exit })
    } else {
        Some(Message::Binary(Frame::Exit(byte).encode()))
    };
    // The official JavaScript client has only the close code to tell how a terminal ended.
    let code = if tty && byte != 0 {
        CLOSE_FAILED + u16::from(byte)
    } else {
        close_code::NORMAL
    };
    let close = Message::Close(Some(CloseFrame {
        code,
        reason: "".into(),
    }));
    for message in message.into_iter().chain([close]) {
        if to_client.feed(message).await.is_err() {
            return false;
        }
    }
    to_client.flush().await.is_ok()
}

/// Takes what the client sends until it leaves, breaks the protocol or goes silent.
async fn receive<R>(session: &Session, from_client: &mut R)
where
    R: Stream<Item = Result<Message, axum::Error>> + Unpin,
{
    while let Ok(Some(Ok(message))) = time::timeout(DEAD_AFTER, from_client.next()).await {
        match message {
            Message::Binary(bytes) if session.tty => session.write(bytes).await,
            Message::Binary(bytes) => match Frame::decode(&bytes) {
                Some(Frame::Stdin(bytes)) => session.write(bytes).await,
                Some(Frame::StdinEof) => session.eof().await,
                _ => {}
            },
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(ClientMessage::Resize { rows, cols }) => session.resize(rows, cols),
                Ok(ClientMessage::Signal { signal }) => {
                    if let Some(signal) = Signal::parse(&signal) {
                        session.signal(signal).await;
                    }
                }
                _ => {}
            },
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

fn text(message: &ServerMessage) -> Option<Message> {
    serde_json::to_string(message)
        .ok()
        .map(|text| Message::Text(text.into()))
}
