//! Exec over plain HTTP, for clients without WebSockets: the request's body is stdin, the answer's body is frames.
//!
//! Invariant: each chunk of the answer is one whole frame: its stream byte, then the payload. The protocol has no lengths, so
//! a frame is lost when somebody on the way puts two chunks together; common clients do that with what arrives at once.
//! Frames are therefore small and leave with a pause between them. Large output belongs on a WebSocket.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::{BufMut, BytesMut};
use futures::{Stream, StreamExt, stream};
use tokio::time::{self, Instant};

use super::{
    Host,
    connection::Joined,
    error::ApiError,
    exec,
    output::{Read, Reader},
    request::Request,
    session::Client,
};
use crate::sprite::frame::Frame;

/// What one frame carries at most; it fits one read of any client.
const FRAME_BYTES: usize = 32 << 10;
/// Long enough for a client on a busy machine to take one frame before the next one arrives.
const PAUSE: Duration = Duration::from_millis(25);

/// `POST /exec`.
pub(super) async fn run(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    body: Body,
) -> Result<Response, ApiError> {
    let sprite = host.store.get(&name)?;
    let request = Request::parse(query)?;
    if request.tty || request.attach.is_some() {
        return Err(ApiError::bad_request(
            "exec over HTTP has neither terminals nor sessions to attach to; use a WebSocket",
        ));
    }
    let takes_stdin = request.takes_stdin();
    let joined = exec::launch(&host, sprite, request).await?;
    if takes_stdin {
        let session = joined.session.clone();
        tokio::spawn(async move {
            let mut input = body.into_data_stream();
            // A client that leaves halfway gives no end: the command must not take a part for the whole.
            while let Some(bytes) = input.next().await {
                let Ok(bytes) = bytes else { return };
                session.write(bytes).await;
            }
            session.eof().await;
        });
    }
    let frames = Body::from_stream(frames(joined));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, frames).into_response())
}

/// The answer of one command.
struct Output {
    reader: Reader,
    ready: VecDeque<Bytes>,
    /// When the next frame may leave.
    next: Instant,
    /// The client counts as connected for as long as its answer is sent; dropped with it.
    _client: Client,
    ended: bool,
}

fn frames(joined: Joined) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let output = Output {
        reader: joined.reader,
        ready: VecDeque::new(),
        next: Instant::now(),
        _client: joined.client,
        ended: false,
    };
    stream::unfold(output, |mut output| async {
        while output.ready.is_empty() && !output.ended {
            match output.reader.next(FRAME_BYTES).await {
                Read::Chunks(chunks) => output.ready = packed(&chunks),
                Read::End(exit) => {
                    output.ended = true;
                    let exit = u8::try_from(exit).unwrap_or(255);
                    output.ready.push_back(Frame::Exit(exit).encode());
                }
            }
        }
        let frame = output.ready.pop_front()?;
        time::sleep_until(output.next).await;
        output.next = Instant::now() + PAUSE;
        Some((Ok(frame), output))
    })
}

/// The same output in as few frames as may be.
fn packed(chunks: &[Bytes]) -> VecDeque<Bytes> {
    let mut frames: Vec<BytesMut> = Vec::new();
    for chunk in chunks {
        let Some((stream, mut payload)) = chunk.split_first() else {
            continue;
        };
        while !payload.is_empty() {
            let room = match frames.last() {
                Some(frame) if frame.first() == Some(stream) => (FRAME_BYTES + 1).saturating_sub(frame.len()),
                _ => 0,
            };
            let (now, later) =
                payload.split_at(payload.len().min(if room == 0 { FRAME_BYTES } else { room }));
            payload = later;
            match frames.last_mut() {
                Some(frame) if room > 0 => frame.put_slice(now),
                _ => {
                    let mut frame = BytesMut::with_capacity(now.len() + 1);
                    frame.put_u8(*stream);
                    frame.put_slice(now);
                    frames.push(frame);
                }
            }
        }
    }
    frames.into_iter().map(BytesMut::freeze).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_order_and_are_as_large_as_may_be() {
        let big = Bytes::from([vec![1], vec![7; FRAME_BYTES + 10]].concat());
        let chunks = [
            big,
            Bytes::from_static(b"\x01ab"),
            Bytes::from_static(b"\x02c"),
            Bytes::from_static(b"\x01d"),
        ];
        let frames = packed(&chunks);
        let sizes: Vec<_> = frames.iter().map(|frame| (frame[0], frame.len() - 1)).collect();
        assert_eq!(sizes, [(1, FRAME_BYTES), (1, 12), (2, 1), (1, 1)]);
        assert!(frames[1].ends_with(b"ab"));
    }
}
