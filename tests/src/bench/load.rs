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

/// How fast requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each connection sends its next request when it has its answer: the highest rate the server can keep.
    Closed,
    /// This many requests a second in all, whether the server keeps up or not; latency counts from when a request was
    /// due, so that a stall is not hidden by requests that were not sent.
    PerSecond(u32),
}

/// What a load came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub took: Duration,
    /// Every request's latency, sorted.
    pub latencies: Vec<Duration>,
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

/// Sends every request once over `connections` connections.
///
/// # Panics
/// When the server can't be reached or answers anything but 200.
pub async fn run(address: &str, requests: Vec<Vec<u8>>, connections: usize, pace: Pace) -> Outcome {
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server can be reached");
        stream.set_nodelay(true).expect("a socket option");
        streams.push(stream);
    }
    let started = Instant::now();
    let workers: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(connection(stream, requests.clone(), next.clone(), pace, started)))
        .collect();
    let mut latencies = Vec::with_capacity(requests.len());
    for worker in workers {
        latencies.extend(worker.await.expect("a connection does not panic"));
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    Outcome { took, latencies }
}

async fn connection(
    mut stream: TcpStream,
    requests: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
    pace: Pace,
    started: Instant,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(index) else {
            return latencies;
        };
        let due = match pace {
            Pace::Closed => Instant::now(),
            Pace::PerSecond(rate) => {
                let due = started + Duration::from_secs_f64(index as f64 / f64::from(rate));
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        stream.write_all(request).await.expect("the server reads");
        read_answer(&mut stream, &mut buffer).await;
        latencies.push(due.elapsed());
    }
}

/// Reads one answer with a `content-length`; leaves the buffer empty.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.expect("the server answers");
        assert!(
            read > 0,
            "the server closed the connection: {}",
            String::from_utf8_lossy(buffer)
        );
        let Some(head) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .expect("an answer has a length");
        if buffer.len() >= head + 4 + length {
            assert!(
                text.starts_with("http/1.1 200"),
                "{}",
                String::from_utf8_lossy(buffer)
            );
            return;
        }
    }
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
