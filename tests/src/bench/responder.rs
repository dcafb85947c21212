//! An HTTP server that takes next to no time, so that what is measured beside it is ours: of a request it looks at the length of
//! its body, and what answers it is bytes that go out as they are.

use std::{io, sync::Arc, time::Instant};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Longer than all that is sent to it.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A running server; ends when dropped.
pub(super) struct Responder {
    url: String,
    _serving: JoinSet<()>,
}

impl Responder {
    /// Starts one on a port of its own. `answer` is given when a request began to arrive, and its body; what it gives is the whole
    /// answer, head and body.
    pub(super) async fn start(answer: impl Fn(Instant, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                connections.spawn(async move {
                    // A connection that is cut is the other side's affair.
                    drop(serve(stream, &*answer).await);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            url,
            _serving: serving,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

async fn serve(mut stream: TcpStream, answer: &impl Fn(Instant, &[u8]) -> Vec<u8>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        if bytes.is_empty() && stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let at = Instant::now();
        let (head, end) = loop {
            if let Some(request) = request(&bytes) {
                break request;
            }
            if bytes.len() > MOST_BYTES || stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let answered = answer(at, &bytes[head..end]);
        stream.write_all(&answered).await?;
        bytes.drain(..end);
    }
}

/// Where the head of a request ends, and where its body does, if all of it is there.
fn request(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let lines = bytes[..head].split(|byte| *byte == b'\n');
    let length = lines.filter_map(length).next().unwrap_or_default();
    (bytes.len() >= head + length).then_some((head, head + length))
}

/// What a line says of the body's length.
fn length(line: &[u8]) -> Option<usize> {
    let (name, value) = str::from_utf8(line).ok()?.split_once(':')?;
    let is_it = name.eq_ignore_ascii_case("content-length");
    value.trim().parse().ok().filter(|_| is_it)
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn a_request_is_there_when_its_body_is() {
        let post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET";
        assert_eq!(request(&post[..30]), None);
        assert_eq!(request(&post[..post.len() - 4]), None);
        assert_eq!(request(post), Some((post.len() - 6, post.len() - 3)));
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(request(get), Some((get.len(), get.len())));
    }
}
