//! A command in a sprite as the caller sees it: what to start, what it says, what one can tell it.
//!
//! Invariant: output arrives in order and is never dropped on the way; a caller that stops reading stops the command's
//! output in the end (back-pressure), not this process's memory. After [`ExecFrame::Exit`] or an error nothing follows.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use reqwest::Url;
use tokio::sync::mpsc;

use super::{Signal, SpriteError, wire::ClientMessage};

/// Hosts bound the messages they take; this is well below.
const STDIN_MESSAGE_BYTES: usize = 256 << 10;

/// How long a command may run on after its last client has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnected {
    /// It is killed after this time.
    RunFor(Duration),
    /// It runs until it ends by itself or is killed.
    RunOn,
}

/// What to start.
///
/// `max_run_after_disconnect` is always sent, because the API's own default differs between terminal and pipes.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    command: Vec<String>,
    dir: Option<String>,
    env: Vec<(String, String)>,
    stdin: bool,
    tty: Option<(u16, u16)>,
    detachable: bool,
    disconnected: Disconnected,
}

impl ExecRequest {
    /// A program and its arguments; no shell in between. Pipes, no stdin, killed 10 s after we go.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            dir: None,
            env: Vec::new(),
            stdin: false,
            tty: None,
            detachable: false,
            disconnected: Disconnected::RunFor(Duration::from_secs(10)),
        }
    }

    /// Working directory; the sprite's home without it.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets an environment variable. The first one replaces the host's whole default environment, `PATH` and `HOME`
    /// included: set those too.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Keeps stdin open for [`ExecInput::write`]; without it the command reads nothing.
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Runs the command in a terminal of this size; stdout and stderr are one stream then.
    #[must_use]
    pub fn tty(mut self, rows: u16, cols: u16) -> Self {
        self.tty = Some((rows, cols));
        self.stdin = true;
        self
    }

    /// Lets the session be attached again, and keeps it listed, after we disconnect.
    #[must_use]
    pub fn detachable(mut self) -> Self {
        self.detachable = true;
        self
    }

    /// What happens to the command when we disconnect.
    #[must_use]
    pub fn disconnected(mut self, disconnected: Disconnected) -> Self {
        self.disconnected = disconnected;
        self
    }

    /// The request as the API spells it; keys that are repeated are lists.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<_> = self.command.iter().map(|part| ("cmd", part.clone())).collect();
        if let Some(program) = self.command.first() {
            pairs.push(("path", program.clone()));
        }
        pairs.push(("stdin", self.stdin.to_string()));
        pairs.extend(
            self.env
                .iter()
                .map(|(key, value)| ("env", format!("{key}={value}"))),
        );
        if let Some(dir) = &self.dir {
            pairs.push(("dir", dir.clone()));
        }
        if let Some((rows, cols)) = self.tty {
            pairs.push(("tty", true.to_string()));
            pairs.push(("rows", rows.to_string()));
            pairs.push(("cols", cols.to_string()));
        }
        if self.detachable {
            pairs.push(("detachable", true.to_string()));
        }
        let limit = match self.disconnected {
            Disconnected::RunOn => "0".to_owned(),
            // 0 would mean for ever.
            Disconnected::RunFor(time) => format!("{}ms", time.as_millis().max(1)),
        };
        pairs.push(("max_run_after_disconnect", limit));
        pairs
    }

    pub(super) fn write_query(&self, url: &mut Url) {
        url.query_pairs_mut().extend_pairs(self.pairs());
    }

    /// Whether all there is of it is its output: it has no terminal, reads nothing and goes with its connection.
    pub(super) fn is_brief(&self) -> bool {
        !self.stdin && self.tty.is_none() && !self.detachable
    }
}

/// What a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecFrame {
    /// Bytes of standard output, or of the terminal.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// It ended: its exit code, or 128 + signal. The last frame.
    Exit(i32),
}

/// A running command, or one that ended while we were connected. Dropping it disconnects.
#[derive(Debug)]
pub struct Exec {
    pub(super) session_id: String,
    pub(super) tty: bool,
    pub(super) frames: mpsc::Receiver<Result<ExecFrame, SpriteError>>,
    pub(super) input: ExecInput,
}

impl Exec {
    /// The host's id of this session, to attach again or to kill it; empty for what [`Sprite::brief`](super::Sprite::brief)
    /// has started.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Whether the command has a terminal.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// The next frame; `None` after the exit or an error.
    pub async fn next(&mut self) -> Option<Result<ExecFrame, SpriteError>> {
        self.frames.recv().await
    }

    /// What one can tell the command; clone it to write from another task.
    pub fn input(&self) -> &ExecInput {
        &self.input
    }

    /// Reads to the end, keeping at most `limit` bytes of each stream; what is beyond is read and counted, not kept.
    pub async fn output(mut self, limit: usize) -> Result<ExecOutput, SpriteError> {
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        while let Some(frame) = self.next().await {
            match frame? {
                ExecFrame::Stdout(bytes) => stdout.push(&bytes, limit),
                ExecFrame::Stderr(bytes) => stderr.push(&bytes, limit),
                ExecFrame::Exit(exit_code) => {
                    return Ok(ExecOutput {
                        exit_code,
                        dropped: stdout.dropped + stderr.dropped,
                        stdout: stdout.bytes.freeze(),
                        stderr: stderr.bytes.freeze(),
                    });
                }
            }
        }
        Err(SpriteError::unavailable(
            "the connection ended before the command did",
        ))
    }
}

impl Stream for Exec {
    type Item = Result<ExecFrame, SpriteError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.frames.poll_recv(context)
    }
}

/// Everything a finished command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code, or 128 + signal.
    pub exit_code: i32,
    /// Standard output, up to the limit.
    pub stdout: Bytes,
    /// Standard error, up to the limit.
    pub stderr: Bytes,
    /// Bytes beyond the limit.
    pub dropped: usize,
}

#[derive(Default)]
struct Kept {
    bytes: BytesMut,
    dropped: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.dropped += bytes.len() - room;
    }
}

/// What the writing half of the connection is asked to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    Stdin(Bytes),
    Eof,
    Message(ClientMessage),
}

/// The input side of a command. Every call waits while the command is not reading, and fails with
/// [`SpriteError::Unavailable`] once the connection has ended.
#[derive(Debug, Clone)]
pub struct ExecInput {
    pub(super) outgoing: mpsc::Sender<Outgoing>,
}

impl ExecInput {
    /// Bytes for the command's standard input or terminal, any number of them.
    pub async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), SpriteError> {
        let mut bytes = bytes.into();
        while bytes.len() > STDIN_MESSAGE_BYTES {
            self.send(Outgoing::Stdin(bytes.split_to(STDIN_MESSAGE_BYTES)))
                .await?;
        }
        self.send(Outgoing::Stdin(bytes)).await
    }

    /// Closes the command's standard input. In a terminal there is no such thing: send Ctrl-D (`\x04`) instead.
    pub async fn eof(&self) -> Result<(), SpriteError> {
        self.send(Outgoing::Eof).await
    }

    /// Gives the terminal a new size, in character cells.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<(), SpriteError> {
        self.send(Outgoing::Message(ClientMessage::Resize { cols, rows }))
            .await
    }

    /// Sends a signal to the command's process group.
    pub async fn signal(&self, signal: Signal) -> Result<(), SpriteError> {
        self.send(Outgoing::Message(ClientMessage::Signal {
            signal: signal.as_str().to_owned(),
        }))
        .await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), SpriteError> {
        let ended = || SpriteError::unavailable("the connection to the session has ended");
        self.outgoing.send(outgoing).await.map_err(|_| ended())
    }
}
