//! The tasks of a running command: its output into the history, clients' input into its stdin, and its end.
//!
//! Invariant: the exit is announced after the last byte of output. Something the command left behind may hold its pipes
//! open for ever; then the output ends once it has been quiet for a moment after the exit, and what comes later is read and
//! dropped, so that nobody dies of a broken pipe.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, sink},
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time,
};

use super::{process::Io, session::Session};
use crate::sprite::frame::StreamId;

const READ_BYTES: usize = 128 << 10;
/// What the exit is when the sprite ended before it could be told: 128 + SIGKILL.
const KILLED: i32 = 137;
const QUIET_AFTER_EXIT: Duration = Duration::from_millis(100);

/// What clients send to a command, in order.
#[derive(Debug)]
pub(super) enum Input {
    /// The permit is the message's share of the session's stdin memory.
    Bytes(Bytes, OwnedSemaphorePermit),
    Eof,
}

/// Drives a command to its end; returns when its exit has been announced.
pub(super) async fn drive(
    session: Arc<Session>,
    exit: oneshot::Receiver<i32>,
    io: Io,
    inputs: mpsc::Receiver<Input>,
) {
    let (exited, watch_exit) = watch::channel(false);
    let wait = async {
        let exit = exit.await.unwrap_or(KILLED);
        exited.send_replace(true);
        exit
    };
    let exit = match io {
        Io::Pipes {
            stdin,
            stdout,
            stderr,
        } => {
            let feeder = match stdin {
                Some(stdin) => tokio::spawn(feed(stdin, inputs)),
                None => tokio::spawn(feed(sink(), inputs)),
            };
            let stdout = pump(&session, stdout, Some(StreamId::Stdout), watch_exit.clone());
            let stderr = pump(&session, stderr, Some(StreamId::Stderr), watch_exit);
            let (exit, (), ()) = tokio::join!(wait, stdout, stderr);
            feeder.abort();
            exit
        }
        Io::Terminal { read, write, .. } => {
            let feeder = tokio::spawn(feed(write, inputs));
            let (exit, ()) = tokio::join!(wait, pump(&session, read, None, watch_exit));
            feeder.abort();
            exit
        }
    };
    session.output.finish(exit);
}

/// Tells the clients of a command that could not be started what a shell would: a sentence and 127 or 126.
pub(super) async fn refuse(session: &Session, program: &str, error: &std::io::Error) {
    let (exit, reason) = match error.kind() {
        std::io::ErrorKind::NotFound => (127, "command not found".to_owned()),
        std::io::ErrorKind::PermissionDenied => (126, "permission denied".to_owned()),
        _ => (126, error.to_string()),
    };
    let mut message = BytesMut::new();
    if !session.tty {
        message.put_u8(StreamId::Stderr as u8);
    }
    message.put_slice(format!("{program}: {reason}\n").as_bytes());
    session.output.push(message.freeze()).await;
    session.output.finish(exit);
}

/// Reads a stream into the history, each chunk behind its stream byte (none in a terminal).
async fn pump<R>(session: &Session, mut from: R, stream: Option<StreamId>, exited: watch::Receiver<bool>)
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES + 1);
        if let Some(stream) = stream {
            buffer.put_u8(stream as u8);
        }
        let mut room = (&mut buffer).limit(READ_BYTES);
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut room) => read,
            () = quiet(exited.clone()) => {
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut sink()).await });
                return;
            }
        };
        match read {
            Ok(count @ 1..) => {
                session.bytes.fetch_add(count as u64, Ordering::Relaxed);
                session.touch();
                session.output.push(buffer.split().freeze()).await;
            }
            // A terminal whose last process is gone ends with EIO.
            Ok(0) | Err(_) => return,
        }
    }
}

async fn quiet(mut exited: watch::Receiver<bool>) {
    // An error means the sender is gone, which it is only after the exit.
    let _ = exited.wait_for(|exited| *exited).await;
    time::sleep(QUIET_AFTER_EXIT).await;
}

/// Writes what clients send until one ends it; what comes after that is dropped.
async fn feed<W: AsyncWrite + Unpin>(to: W, mut inputs: mpsc::Receiver<Input>) {
    let mut to = Some(to);
    while let Some(input) = inputs.recv().await {
        match input {
            Input::Bytes(bytes, _room) => {
                if let Some(open) = &mut to
                    && (open.write_all(&bytes).await.is_err() || open.flush().await.is_err())
                {
                    to = None;
                }
            }
            Input::Eof => to = None,
        }
    }
}
