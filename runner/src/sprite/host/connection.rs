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
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Serialize;
use tokio::{sync::watch, time};

use super::{
    output::{Read, Reader},
    ports::Follower,
    session::{Client, Session},
};
use crate::sprite::{
    Signal,
    frame::Frame,
    wire::{ClientMessage, ServerMessage},
};

pub(super) const PING_EVERY: Duration = Duration::from_secs(15);
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(45);
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

/// A session and its newest client, before anything was carried.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) session: Arc<Session>,
    pub(super) reader: Reader,
    pub(super) client: Client,
    pub(super) greeting: Greeting,
    pub(super) ports: Follower,
}

/// How clients put what is no input into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Text messages are JSON.
    Exec,
    /// As [`Dialect::Exec`], but the official client sends the same JSON in binary messages.
    Control,
}

/// Why a connection carries a session no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// The command has ended, all its output was sent.
    Exit(i32),
    /// The client left or went silent, or the host closes.
    Left,
    /// The client began something else before this was over: the two sides no longer mean the same session.
    Confused,
}

/// A WebSocket with its two directions apart.
pub(super) struct Socket {
    pub(super) to: SplitSink<WebSocket, Message>,
    pub(super) from: SplitStream<WebSocket>,
}

impl Socket {
    /// Sends what can be written as JSON, behind `prefix`; `false` when the client is gone or reads nothing any more.
    pub(super) async fn say<T: Serialize>(&mut self, prefix: &str, value: &T) -> bool {
        let Ok(json) = serde_json::to_string(value) else {
            return false;
        };
        let message = Message::Text(format!("{prefix}{json}").into());
        matches!(time::timeout(DEAD_AFTER, self.to.send(message)).await, Ok(Ok(())))
    }

    /// Answers the client's close, if there was one.
    pub(super) async fn leave(mut self) {
        // Whether it still hears it or not: it is over.
        let _ = time::timeout(CLOSE_WITHIN, self.to.close()).await;
    }

    /// Tells the client why it is over and gives it a moment to close its side.
    pub(super) async fn close(mut self, code: u16, reason: &'static str) {
        let close = Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        }));
        let farewell = async {
            if self.to.send(close).await.is_ok() {
                while let Some(Ok(_)) = self.from.next().await {}
            }
        };
        // A client that wants to leave the socket open gets a moment.
        let _ = time::timeout(CLOSE_WITHIN, farewell).await;
    }
}

/// Prepares a WebSocket for much data.
pub(super) fn sized(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
}

/// Accepts the WebSocket and carries the session's streams until it ends, the client leaves or the host closes.
pub(super) fn serve(
    upgrade: WebSocketUpgrade,
    joined: Joined,
    mut closing: watch::Receiver<bool>,
) -> Response {
    let mut response = sized(upgrade).on_upgrade(async move |socket| {
        let (to, from) = socket.split();
        let mut socket = Socket { to, from };
        let tty = joined.session.tty;
        let Carried::Exit(exit) = carry(&mut socket, joined, Dialect::Exec, &mut closing).await else {
            return socket.leave().await;
        };
        if !say_exit(&mut socket, tty, exit).await {
            return;
        }
        let byte = exit_byte(exit);
        // The official JavaScript client has only the close code to tell how a terminal ended.
        let code = if tty && byte != 0 {
            CLOSE_FAILED + u16::from(byte)
        } else {
            close_code::NORMAL
        };
        socket.close(code, "").await;
    });
    // The official Go client sends signals over the WebSocket only to hosts that say they take them there.
    response
        .headers_mut()
        .insert("x-sprite-capabilities", HeaderValue::from_static("signal"));
    response
}

/// Carries a session's streams both ways, up to its exit, which is the caller's to send.
pub(super) async fn carry(
    socket: &mut Socket,
    joined: Joined,
    dialect: Dialect,
    closing: &mut watch::Receiver<bool>,
) -> Carried {
    // The client counts as connected for as long as this runs.
    let Joined {
        session,
        reader,
        client: _client,
        greeting,
        ports,
    } = joined;
    let info = ServerMessage::SessionInfo {
        session_id: session.id.clone(),
        command: session.command.clone(),
        created: session.created.as_second(),
        rows: greeting.size.0,
        cols: greeting.size.1,
        is_owner: greeting.owner,
        tty: session.tty,
    };
    if !socket.say("", &info).await {
        return Carried::Left;
    }
    let mut sent = std::pin::pin!(send(&mut socket.to, reader, ports));
    tokio::select! {
        carried = &mut sent => carried,
        carried = receive(&mut socket.from, &session, dialect) => carried,
        // An error means the host is gone. Its commands have ended by now, and their clients hear of it.
        () = async { drop(closing.wait_for(|closing| *closing).await) } => {
            time::timeout(CLOSE_WITHIN, sent).await.unwrap_or(Carried::Left)
        }
    }
}

/// Sends output until the exit.
async fn send(to: &mut SplitSink<WebSocket, Message>, mut reader: Reader, mut ports: Follower) -> Carried {
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            biased;
            _ = pings.tick() => to.send(Message::Ping(Bytes::new())).await,
            changes = ports.next() => {
                let texts = changes.iter().filter_map(|change| serde_json::to_string(change).ok());
                feed(to, texts.map(|text| Message::Text(text.into()))).await
            }
            read = reader.next(BATCH_BYTES) => match read {
                Read::Chunks(chunks) => feed(to, chunks.into_iter().map(Message::Binary)).await,
                Read::End(exit) => return Carried::Exit(exit),
            },
        };
        if sent.is_err() {
            return Carried::Left;
        }
    }
}

async fn feed(
    to: &mut SplitSink<WebSocket, Message>,
    messages: impl Iterator<Item = Message>,
) -> Result<(), axum::Error> {
    for message in messages {
        to.feed(message).await?;
    }
    to.flush().await
}

/// Says how the command ended; `false` when the client is gone.
pub(super) async fn say_exit(socket: &mut Socket, tty: bool, exit: i32) -> bool {
    if tty {
        return socket.say("", &ServerMessage::Exit { exit_code: exit }).await;
    }
    let message = Message::Binary(Frame::Exit(exit_byte(exit)).encode());
    matches!(
        time::timeout(DEAD_AFTER, socket.to.send(message)).await,
        Ok(Ok(()))
    )
}

fn exit_byte(exit: i32) -> u8 {
    u8::try_from(exit).unwrap_or(255)
}

/// Takes what the client sends until it leaves, breaks the protocol or goes silent.
async fn receive(from: &mut SplitStream<WebSocket>, session: &Session, dialect: Dialect) -> Carried {
    while let Ok(Some(Ok(message))) = time::timeout(DEAD_AFTER, from.next()).await {
        match message {
            Message::Binary(bytes) => match wish(&bytes, dialect) {
                Some(wish) => grant(session, wish).await,
                None if session.tty => session.write(bytes).await,
                None => match Frame::decode(&bytes) {
                    Some(Frame::Stdin(bytes)) => session.write(bytes).await,
                    Some(Frame::StdinEof) => session.eof().await,
                    _ => {}
                },
            },
            Message::Text(text) if dialect == Dialect::Control && text.starts_with("control:") => {
                return Carried::Confused;
            }
            Message::Text(text) => {
                if let Ok(wish) = serde_json::from_str(&text) {
                    grant(session, wish).await;
                }
            }
            Message::Close(_) => return Carried::Left,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
    Carried::Left
}

/// What a binary message asks for, where it may be more than input.
fn wish(bytes: &[u8], dialect: Dialect) -> Option<ClientMessage> {
    if dialect == Dialect::Exec || !bytes.starts_with(b"{\"type\":") {
        return None;
    }
    match serde_json::from_slice(bytes) {
        Ok(ClientMessage::Other) | Err(_) => None,
        Ok(wish) => Some(wish),
    }
}

async fn grant(session: &Session, wish: ClientMessage) {
    match wish {
        ClientMessage::Resize { rows, cols } => session.resize(rows, cols),
        ClientMessage::Signal { signal } => {
            if let Some(signal) = Signal::parse(&signal) {
                session.signal(signal).await;
            }
        }
        ClientMessage::Other => {}
    }
}
