//! The WebSocket under an exec: opening it, keeping it alive, telling a dead one from a quiet one.
//!
//! Invariant: reading and writing never wait for each other, so a command that echoes gigabytes cannot deadlock; a ping
//! goes out every 15 s, and a connection that is read but says nothing for 45 s is dead. The exit frame ends it: the
//! host may hold the socket for seconds afterwards, nobody waits for that.

use std::time::Duration;

use bytes::Bytes;
use futures::{
    Sink, SinkExt, Stream, StreamExt, future, stream,
    stream::{SplitSink, SplitStream},
};
use reqwest::{Upgraded, Url, header};
use tokio::{sync::mpsc, time};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    Exec, ExecFrame, ExecInput, SpriteError, Sprites,
    answer::{self, transport},
    exec::Outgoing,
    frame::Frame,
    pool::Outcome,
    retry::{Pauses, Twice},
    wire::ServerMessage,
};

const PING_EVERY: Duration = Duration::from_secs(15);
const DEAD_AFTER: Duration = Duration::from_secs(45);
const OPEN_WITHIN: Duration = Duration::from_secs(30);
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Frames between the socket and the caller; with the host's chunk size about a megabyte.
pub(super) const FRAMES_AHEAD: usize = 16;
pub(super) const INPUTS_AHEAD: usize = 8;
/// Output that may arrive before the session is named.
const EARLY_FRAMES: usize = 64;

/// Opens an exec or attach URL and waits for the session's name; asks again where that `twice` is once.
pub(super) async fn open(
    sprites: &Sprites,
    url: Url,
    twice: Twice,
    what: impl Fn() -> String,
) -> Result<Exec, SpriteError> {
    let mut pauses = Pauses::of_request();
    loop {
        let opened = time::timeout(OPEN_WITHIN, open_unbounded(sprites, url.clone(), &what))
            .await
            .map_err(|_| SpriteError::unavailable("the host did not name the session in time"))?;
        match (opened, twice, pauses.next()) {
            (Err(SpriteError::Unavailable { .. }), Twice::IsOnce, Some(pause)) => time::sleep(pause).await,
            (opened, ..) => return opened,
        }
    }
}

/// The two halves of a WebSocket.
pub(super) type Reader = SplitStream<WebSocketStream<Upgraded>>;
pub(super) type Writer = SplitSink<WebSocketStream<Upgraded>, Message>;

/// Makes a WebSocket of an address.
pub(super) async fn upgrade(
    sprites: &Sprites,
    url: Url,
    what: impl FnOnce() -> String,
) -> Result<(Writer, Reader), SpriteError> {
    let key = generate_key();
    let request = sprites
        .upgrade_request(url)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let response = answer::upgrade(request, what).await?;
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(SpriteError::protocol("it did not accept the WebSocket"));
    }
    let socket = response.upgrade().await.map_err(transport)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(socket, Role::Client, Some(config)).await;
    Ok(socket.split())
}

async fn open_unbounded(
    sprites: &Sprites,
    url: Url,
    what: impl FnOnce() -> String,
) -> Result<Exec, SpriteError> {
    let (writer, mut reader) = upgrade(sprites, url, what).await?;
    let mut early = Vec::new();
    let (session_id, tty) = loop {
        let message = reader.next().await.ok_or_else(cut)?.map_err(broken)?;
        if let Message::Text(text) = &message
            && let Ok(ServerMessage::SessionInfo { session_id, tty, .. }) = serde_json::from_str(text)
        {
            break (session_id, tty);
        }
        if let Message::Close(Some(frame)) = &message {
            return Err(SpriteError::protocol(format!(
                "it closed with {}: {}",
                frame.code, frame.reason
            )));
        }
        if early.len() == EARLY_FRAMES {
            return Err(SpriteError::protocol(
                "it sends output but does not name the session",
            ));
        }
        early.push(Ok(message));
    };

    let (to_caller, frames) = mpsc::channel(FRAMES_AHEAD);
    let (outgoing, from_caller) = mpsc::channel(INPUTS_AHEAD);
    tokio::spawn(drive(
        writer,
        stream::iter(early).chain(reader),
        tty,
        to_caller,
        from_caller,
    ));
    Ok(Exec {
        session_id,
        tty,
        frames,
        input: ExecInput { outgoing },
    })
}

async fn drive<R, W>(
    mut writer: W,
    reader: R,
    tty: bool,
    to_caller: mpsc::Sender<Result<ExecFrame, SpriteError>>,
    from_caller: mpsc::Receiver<Outgoing>,
) where
    R: Stream<Item = Result<Message, WsError>> + Unpin,
    W: Sink<Message, Error = WsError> + Unpin,
{
    tokio::select! {
        _ = read(reader, tty, &to_caller) => {}
        () = write(&mut writer, tty, from_caller) => {}
    }
    close(&mut writer).await;
}

/// Says goodbye; whether the other side hears it or not, it is over.
pub(super) async fn close<W: Sink<Message, Error = WsError> + Unpin>(writer: &mut W) {
    let _ = time::timeout(CLOSE_WITHIN, writer.close()).await;
}

/// How a command on a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its exit was read.
    Exit,
    /// The host said what came of the operation.
    Outcome,
    /// The connection broke, or nobody wants the rest.
    Broken,
}

/// Reads a command's frames for the caller, up to its end.
pub(super) async fn read<R>(
    mut reader: R,
    tty: bool,
    to_caller: &mpsc::Sender<Result<ExecFrame, SpriteError>>,
) -> Ended
where
    R: Stream<Item = Result<Message, WsError>> + Unpin,
{
    loop {
        let received = tokio::select! {
            received = time::timeout(DEAD_AFTER, reader.next()) => received,
            () = to_caller.closed() => return Ended::Broken,
        };
        if let Ok(Some(Ok(Message::Text(text)))) = &received
            && let Some(outcome) = Outcome::read(text)
        {
            // Whoever has gone does not need it.
            drop(to_caller.send(outcome.frame()).await);
            return Ended::Outcome;
        }
        let item = match received {
            Err(_) => Some(Err(SpriteError::unavailable("the connection went silent"))),
            Ok(None) => Some(Err(cut())),
            Ok(Some(Err(error))) => Some(Err(broken(error))),
            Ok(Some(Ok(message))) => understand(message, tty).transpose(),
        };
        let Some(item) = item else { continue };
        let ended = match item {
            Ok(ExecFrame::Stdout(_) | ExecFrame::Stderr(_)) => None,
            Ok(ExecFrame::Exit(_)) => Some(Ended::Exit),
            Err(_) => Some(Ended::Broken),
        };
        if to_caller.send(item).await.is_err() && ended.is_none() {
            return Ended::Broken;
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// What a message means for the caller; `Ok(None)` for what it need not know.
fn understand(message: Message, tty: bool) -> Result<Option<ExecFrame>, SpriteError> {
    Ok(match message {
        Message::Binary(bytes) if tty => Some(ExecFrame::Stdout(bytes)),
        Message::Binary(bytes) => match Frame::decode(&bytes) {
            Some(Frame::Stdout(bytes)) => Some(ExecFrame::Stdout(bytes)),
            Some(Frame::Stderr(bytes)) => Some(ExecFrame::Stderr(bytes)),
            Some(Frame::Exit(code)) => Some(ExecFrame::Exit(i32::from(code))),
            Some(Frame::Stdin(_) | Frame::StdinEof) | None => None,
        },
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(ServerMessage::Exit { exit_code }) => Some(ExecFrame::Exit(exit_code)),
            _ => None,
        },
        // A terminal session's clean close is its exit where the host sends no exit message.
        Message::Close(Some(frame)) if tty && frame.code == CloseCode::Normal => Some(ExecFrame::Exit(0)),
        Message::Close(Some(frame)) => {
            return Err(SpriteError::unavailable(format!(
                "it closed the session's connection with {}: {}",
                frame.code, frame.reason
            )));
        }
        Message::Close(None) => return Err(cut()),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
    })
}

/// Never returns: when writing fails the reading half still has frames to deliver, the exit among them, and it is the one
/// that says how the connection ended.
pub(super) async fn write<W>(writer: &mut W, tty: bool, mut from_caller: mpsc::Receiver<Outgoing>)
where
    W: Sink<Message, Error = WsError> + Unpin,
{
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            Some(outgoing) = from_caller.recv() => encode(outgoing, tty),
            _ = pings.tick() => Some(Message::Ping(Bytes::new())),
        };
        if let Some(message) = message
            && writer.send(message).await.is_err()
        {
            drop(from_caller);
            return future::pending().await;
        }
    }
}

fn encode(outgoing: Outgoing, tty: bool) -> Option<Message> {
    match outgoing {
        Outgoing::Stdin(bytes) if tty => Some(Message::Binary(bytes)),
        Outgoing::Stdin(bytes) => Some(Message::Binary(Frame::Stdin(bytes).encode())),
        Outgoing::Eof if tty => None,
        Outgoing::Eof => Some(Message::Binary(Frame::StdinEof.encode())),
        Outgoing::Message(message) => serde_json::to_string(&message)
            .ok()
            .map(|text| Message::Text(text.into())),
    }
}

fn cut() -> SpriteError {
    SpriteError::unavailable("the connection was cut before the command ended")
}

fn broken(error: WsError) -> SpriteError {
    match error {
        WsError::Io(_) | WsError::ConnectionClosed | WsError::AlreadyClosed => {
            SpriteError::unavailable(error)
        }
        WsError::Protocol(reason) => SpriteError::unavailable(format!("the connection broke: {reason}")),
        other => SpriteError::protocol(other),
    }
}
