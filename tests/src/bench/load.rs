//! The loader: prepared HTTP/1.1 requests over keep-alive connections, as cheap as can be, so that what is measured is
//! the server. Every answer is read whole and checked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long a request waits that the server was too busy for.
const BEFORE_ANOTHER_TRY: Duration = Duration::from_millis(20);

/// How long a server may be too busy for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How fast requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each connection sends its next request when it has its answer: the highest rate the server can keep.
    Closed,
    /// The same, but no request is begun after so long.
    ClosedFor(Duration),
    /// This many requests a second in all, whether the server keeps up or not; latency counts from when a request was
    /// due, so that a stall is not hidden by requests that were not sent.
    PerSecond(u32),
}

/// What a load came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub took: Duration,
    /// Every request's latency, sorted; to the good answer, where it had to be sent again.
    pub latencies: Vec<Duration>,
    /// How often the server was too busy (503), and the request was sent again.
    pub refused: usize,
}

impl Outcome {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// The latency that `share` (0 to 1) of the requests stayed within.
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get((last as f64 * share).round() as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// Requests as bytes that connections share.
pub trait Requests: AsRef<[u8]> + Send + Sync + 'static {}

impl<R: AsRef<[u8]> + Send + Sync + 'static> Requests for R {}

/// Sends every request once over `connections` connections.
///
/// # Panics
/// When the server can't be reached, answers anything but 200, 202 or 503, or 503 for too long.
pub async fn run<R: Requests>(address: &str, requests: Vec<R>, connections: usize, pace: Pace) -> Outcome {
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(Connection::open(address).await);
    }
    let started = Instant::now();
    let workers: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(connection(stream, requests.clone(), next.clone(), pace, started)))
        .collect();
    let (mut latencies, mut refused) = (Vec::with_capacity(requests.len()), 0);
    for worker in workers {
        match worker.await {
            Ok((own, again)) => {
                latencies.extend(own);
                refused += again;
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    Outcome {
        took,
        latencies,
        refused,
    }
}

async fn connection<R: Requests>(
    mut connection: Connection,
    requests: Arc<Vec<R>>,
    next: Arc<AtomicUsize>,
    pace: Pace,
    started: Instant,
) -> (Vec<Duration>, usize) {
    let (mut latencies, mut refused) = (Vec::new(), 0);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(index) else {
            return (latencies, refused);
        };
        let due = match pace {
            Pace::Closed => Instant::now(),
            Pace::ClosedFor(span) if started.elapsed() >= span => return (latencies, refused),
            Pace::ClosedFor(_) => Instant::now(),
            Pace::PerSecond(rate) => {
                let due = started + Duration::from_secs_f64(index as f64 / f64::from(rate));
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        while connection.exchange(request.as_ref()).await == Answer::TooBusy {
            refused += 1;
            assert!(
                due.elapsed() < PATIENCE,
                "too busy for {} s: {}",
                PATIENCE.as_secs(),
                connection.last_body()
            );
            tokio::time::sleep(BEFORE_ANOTHER_TRY).await;
        }
        latencies.push(due.elapsed());
    }
}

/// What a server makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done (200) or taken (202).
    Taken,
    /// It should be sent again (503).
    TooBusy,
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server can be reached");
        stream.set_nodelay(true).expect("a socket option");
        Self {
            stream,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// What the last answer said.
    fn last_body(&self) -> String {
        let text = String::from_utf8_lossy(&self.buffer);
        text.split_once("\r\n\r\n")
            .map_or_else(String::new, |(_, body)| body.replace("\r\n", " "))
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Panics
    /// When the server answers anything but 200, 202 or 503.
    pub async fn exchange(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).await.expect("the server reads");
        self.buffer.clear();
        loop {
            let read = self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .expect("the server answers");
            assert!(
                read > 0,
                "the server closed the connection: {}",
                String::from_utf8_lossy(&self.buffer)
            );
            if let Some(answer) = whole(&self.buffer) {
                return answer;
            }
        }
    }
}

/// What these bytes say once they are a whole answer, with a `content-length` or in chunks.
fn whole(answer: &[u8]) -> Option<Answer> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let taken = match text.get(..12) {
        Some("http/1.1 200" | "http/1.1 202") => Answer::Taken,
        Some("http/1.1 503") => Answer::TooBusy,
        _ => panic!("{}", String::from_utf8_lossy(answer)),
    };
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let all = match length {
        Some(length) => answer.len() >= head + 4 + length,
        None => answer.ends_with(b"0\r\n\r\n"),
    };
    all.then_some(taken)
}

/// A POST as bytes.
pub fn post(host: &str, path: &str, headers: &reqwest::header::HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n",
        body.len()
    )
    .into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}
