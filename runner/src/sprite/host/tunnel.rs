//! The WebSockets about ports: a tunnel to one of them, and news of all.
//!
//! Invariant: a tunnel moves bytes as fast as its slower side takes them and holds one read's worth; while it is open, the
//! sprite is busy.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        Path, State,
        ws::{Message, WebSocket, close_code},
    },
    response::Response,
};
use bytes::BytesMut;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time,
};

use super::{
    Host,
    connection::{DEAD_AFTER, PING_EVERY, Socket, sized},
    error::ApiError,
    exec::Upgrade,
    local::LocalSprite,
    ports::{self, Ports},
};
use crate::sprite::wire_ports::{PortEventKind, PortList, TunnelState, TunnelTo};

const READ_BYTES: usize = 64 << 10;
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// `GET /proxy` as WebSocket: `{host, port}`, the answer, then the port's bytes.
pub(super) async fn proxy(
    State(host): State<Host>,
    Path(name): Path<String>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let busy = sprite.activity.begin()?;
    let (mut closing, place) = (host.closing.subscribe(), host.connection()?);
    Ok(sized(upgrade).on_upgrade(async move |socket| {
        let (to, from) = socket.split();
        let mut socket = Socket { to, from };
        let ended = tokio::select! {
            () = tunnel(&sprite, &mut socket) => true,
            // An error means the host is gone.
            _ = closing.wait_for(|closing| *closing) => false,
        };
        drop((busy, place));
        if ended {
            socket.close(close_code::NORMAL, "").await;
        }
    }))
}

async fn tunnel(sprite: &LocalSprite, socket: &mut Socket) {
    let Ok(Some(Ok(Message::Text(text)))) = time::timeout(FIRST_MESSAGE_WITHIN, socket.from.next()).await
    else {
        return;
    };
    let (target, connected) = match serde_json::from_str::<TunnelTo>(&text) {
        Ok(to) => (format!("{}:{}", to.host, to.port), open(sprite, &to).await),
        Err(_) => (
            String::new(),
            Err("the first message must be JSON with host and port".to_owned()),
        ),
    };
    let state = |status, error| TunnelState {
        status,
        target: target.clone(),
        error,
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            // The close that follows ends it, whether or not the client is still there.
            socket.say("", &state("error", Some(error))).await;
            return;
        }
    };
    if !socket.say("", &state("connected", None)).await {
        return;
    }
    let (read, write) = stream.into_split();
    tokio::select! {
        () = outwards(read, &mut socket.to) => {}
        () = inwards(&mut socket.from, write) => {}
    }
}

async fn open(sprite: &LocalSprite, to: &TunnelTo) -> Result<TcpStream, String> {
    let inside = match to.host.as_str() {
        "" | "localhost" => true,
        host => host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified()),
    };
    if !inside {
        return Err(format!("{} is not inside the sprite; use localhost", to.host));
    }
    match ports::connect(sprite, to.port).await {
        Ok(connected) => connected.map_err(|error| format!("port {} inside the sprite: {error}", to.port)),
        Err(error) => Err(error.into_parts().1.message),
    }
}

/// What the port says, until it ends; pings meanwhile.
async fn outwards(mut from: OwnedReadHalf, to: &mut SplitSink<WebSocket, Message>) {
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        let message = tokio::select! {
            biased;
            _ = pings.tick() => Message::Ping(Bytes::new()),
            read = from.read_buf(&mut buffer) => match read {
                Ok(1..) => Message::Binary(buffer.split().freeze()),
                Ok(0) | Err(_) => return,
            },
        };
        if to.send(message).await.is_err() {
            return;
        }
    }
}

/// What the client says, until it leaves or goes silent.
async fn inwards(from: &mut SplitStream<WebSocket>, mut to: OwnedWriteHalf) {
    while let Ok(Some(Ok(message))) = time::timeout(DEAD_AFTER, from.next()).await {
        match message {
            Message::Binary(bytes) => {
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Message::Close(_) => return,
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

/// `GET /ports/watch` as WebSocket: what listens, then what opens and closes.
pub(super) async fn watch(
    State(host): State<Host>,
    Path(name): Path<String>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let (mut closing, place) = (host.closing.subscribe(), host.connection()?);
    Ok(upgrade.on_upgrade(async move |socket| {
        let (to, from) = socket.split();
        let mut socket = Socket { to, from };
        tokio::select! {
            () = news(sprite, &mut socket) => {}
            // An error means the host is gone.
            _ = closing.wait_for(|closing| *closing) => {}
        }
        socket.leave().await;
        drop(place);
    }))
}

async fn news(sprite: Arc<LocalSprite>, socket: &mut Socket) {
    let now: BTreeSet<_> = ports::listening(&sprite).await;
    let ports = now
        .iter()
        .map(|port| ports::event(port, PortEventKind::PortOpened));
    let list = PortList {
        ports: ports.collect(),
    };
    if !socket.say("", &list).await {
        return;
    }
    let mut follower = Ports::follow(&sprite, now);
    // Watching keeps no sprite from being deleted.
    drop(sprite);
    let mut pings = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        tokio::select! {
            changes = follower.next() => {
                for change in changes {
                    if !socket.say("", &change).await {
                        return;
                    }
                }
            }
            _ = pings.tick() => {
                if socket.to.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
            }
            heard = time::timeout(DEAD_AFTER, socket.from.next()) => match heard {
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return,
                Ok(Some(Ok(_))) => {}
            },
        }
    }
}
