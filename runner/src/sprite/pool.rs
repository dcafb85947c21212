//! Control connections, kept open between short commands: a command then costs no handshake.
//!
//! Invariant: a connection carries one operation at a time and is kept only after that operation has ended in order; one
//! that broke, was left in the middle or lay idle too long is closed. There are never more than [`MOST`] to one host, and a
//! host that has no control connections is asked for none for a while: then the command goes the plain way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{self, Instant},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Exec, ExecFrame, ExecInput, ExecRequest, SpriteError, Sprites,
    connection::{self, Ended, FRAMES_AHEAD, INPUTS_AHEAD, Reader, Writer},
};

/// Connections to one host, in use and idle.
const MOST: usize = 32;
/// Idle ones kept for one sprite.
const MOST_IDLE: usize = 4;
/// How long one lies idle; hosts give up silent ones after 45 s.
const IDLE: Duration = Duration::from_secs(30);
/// How long a host that had no control connections is not asked again.
const WITHOUT: Duration = Duration::from_secs(600);
/// How long the word that an operation is over may take after its exit.
const OVER_WITHIN: Duration = Duration::from_secs(2);
/// How control messages begin; all other text belongs to the operation.
pub(super) const PREFIX: &str = "control:";

/// The control connections to one host.
pub(super) struct Pool {
    idle: Mutex<HashMap<String, Vec<Waiting>>>,
    room: Arc<Semaphore>,
    without_until: Mutex<Option<Instant>>,
}

/// An idle connection is asked for by sending it where it is wanted.
type Waiting = oneshot::Sender<oneshot::Sender<Connection>>;

/// What came of asking for a control connection.
pub(super) enum Way {
    /// The command was started on one.
    Started(Exec),
    /// There is none to be had just now: go the plain way.
    Plain,
    /// The host refused one: if the plain way works, it has none at all.
    Refused,
}

/// One control connection, idle or about to be used.
struct Connection {
    reader: Reader,
    writer: Writer,
    _room: OwnedSemaphorePermit,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(MOST)),
            without_until: Mutex::default(),
        }
    }
}

/// What the host says of an operation.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "args")]
pub(super) enum Outcome {
    /// It ended.
    #[serde(rename = "op.complete")]
    Complete {
        /// Its exit code.
        #[serde(default, rename = "exitCode")]
        exit_code: i32,
    },
    /// It could not be done.
    #[serde(rename = "op.error")]
    Error {
        /// One sentence.
        #[serde(default)]
        error: String,
        /// The API's code, where the host says it.
        #[serde(default)]
        code: String,
        /// The status the same request would have had over HTTP, where the host says it.
        #[serde(default)]
        status: u16,
        /// As over HTTP.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
}

impl Outcome {
    /// What a text message says of the operation, if it is a control message.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text.strip_prefix(PREFIX)?).ok()
    }

    pub(super) fn frame(self) -> Result<ExecFrame, SpriteError> {
        let (error, code, status, after) = match self {
            Self::Complete { exit_code } => return Ok(ExecFrame::Exit(exit_code)),
            Self::Error {
                error,
                code,
                status,
                retry_after_seconds,
            } => (error, code, status, retry_after_seconds),
        };
        Err(match status {
            404 | 410 => SpriteError::Gone { what: error },
            429 => SpriteError::Limited {
                reason: code,
                message: error,
                retry_after: after.map(Duration::from_secs),
            },
            500.. => SpriteError::unavailable(error),
            status => SpriteError::Refused {
                status,
                reason: code,
                message: error,
            },
        })
    }
}

impl Pool {
    /// Starts a command over a control connection. An error means that the command may have been started.
    pub(super) async fn exec(
        self: &Arc<Self>,
        sprites: &Sprites,
        sprite: &str,
        request: &ExecRequest,
    ) -> Result<Way, SpriteError> {
        let mut connection = match self.connection(sprites, sprite).await? {
            Ok(connection) => connection,
            Err(way) => return Ok(way),
        };
        let start = json!({"type": "op.start", "op": "exec", "args": arguments(request)});
        let start = Message::Text(format!("{PREFIX}{start}").into());
        connection
            .writer
            .send(start)
            .await
            .map_err(SpriteError::unavailable)?;
        let (to_caller, frames) = mpsc::channel(FRAMES_AHEAD);
        let (outgoing, from_caller) = mpsc::channel(INPUTS_AHEAD);
        let (pool, sprite) = (self.clone(), sprite.to_owned());
        tokio::spawn(async move {
            let Connection { reader, writer, .. } = &mut connection;
            let ended = tokio::select! {
                ended = connection::read(&mut *reader, false, &to_caller) => ended,
                () = connection::write(writer, false, from_caller) => Ended::Broken,
            };
            drop(to_caller);
            let is_over = match ended {
                Ended::Exit => time::timeout(OVER_WITHIN, over(reader)).await.unwrap_or(false),
                Ended::Outcome => true,
                Ended::Broken => false,
            };
            match is_over {
                true => pool.keep(sprite, connection),
                false => connection::close(&mut connection.writer).await,
            }
        });
        Ok(Way::Started(Exec {
            session_id: String::new(),
            tty: false,
            frames,
            input: ExecInput { outgoing },
        }))
    }

    /// The host turned out to have no control connections.
    pub(super) fn is_without(&self) {
        *self.without_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + WITHOUT);
    }

    /// An idle connection, or a new one.
    async fn connection(
        &self,
        sprites: &Sprites,
        sprite: &str,
    ) -> Result<Result<Connection, Way>, SpriteError> {
        let without = *self.without_until.lock().unwrap_or_else(PoisonError::into_inner);
        if without.is_some_and(|until| Instant::now() < until) {
            return Ok(Err(Way::Plain));
        }
        while let Some(waiting) = self.pop(sprite) {
            let (here, wanted) = oneshot::channel();
            if waiting.send(here).is_ok()
                && let Ok(connection) = wanted.await
            {
                return Ok(Ok(connection));
            }
        }
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            return Ok(Err(Way::Plain));
        };
        let url: Url = sprites.url(&[sprite, "control"]);
        let (writer, reader) = match connection::upgrade(sprites, url, || format!("sprite {sprite}")).await {
            Ok(halves) => halves,
            // Nothing was started: the plain way says whether it is the host that can't, or the sprite that is gone.
            Err(SpriteError::Gone { .. } | SpriteError::Refused { .. } | SpriteError::Protocol { .. }) => {
                return Ok(Err(Way::Refused));
            }
            Err(error) => return Err(error),
        };
        Ok(Ok(Connection {
            reader,
            writer,
            _room: room,
        }))
    }

    fn pop(&self, sprite: &str) -> Option<Waiting> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.get_mut(sprite)?;
        let last = waiting.pop();
        if waiting.is_empty() {
            idle.remove(sprite);
        }
        last
    }

    /// Keeps a connection until it is wanted, breaks or has lain idle for too long. It is read meanwhile, so that the
    /// host's pings are answered and its end is noticed.
    fn keep(&self, sprite: String, mut connection: Connection) {
        let (waiting, mut wanted) = oneshot::channel::<oneshot::Sender<Connection>>();
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let of_sprite = idle.entry(sprite).or_default();
            of_sprite.retain(|waiting| !waiting.is_closed());
            if of_sprite.len() >= MOST_IDLE {
                return;
            }
            of_sprite.push(waiting);
        }
        tokio::spawn(async move {
            let mut end = std::pin::pin!(time::sleep(IDLE));
            loop {
                tokio::select! {
                    biased;
                    here = &mut wanted => {
                        // Who wanted it may have given up; then it is closed.
                        if let Ok(here) = here {
                            drop(here.send(connection));
                        }
                        return;
                    }
                    message = connection.reader.next() => match message {
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_))) => {}
                        _ => return,
                    },
                    () = &mut end => break,
                }
            }
            drop(wanted);
            connection::close(&mut connection.writer).await;
        });
    }
}

/// Whether the host says, after the exit, that the operation is over.
async fn over(reader: &mut Reader) -> bool {
    while let Some(Ok(message)) = reader.next().await {
        match message {
            Message::Text(text) if Outcome::read(&text).is_some() => return true,
            Message::Close(_) => return false,
            _ => {}
        }
    }
    false
}

/// A request's query as the arguments of an operation: what can be repeated is a list.
fn arguments(request: &ExecRequest) -> Map<String, Value> {
    let mut arguments = Map::new();
    for (key, value) in request.pairs() {
        if matches!(key, "cmd" | "env") {
            let values = arguments.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(Value::String(value));
            }
        } else {
            arguments.insert(key.to_owned(), Value::String(value));
        }
    }
    arguments
}
