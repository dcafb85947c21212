//! A sprite's only way out: an HTTP proxy of the host, which keeps to the sprite's network policy.
//!
//! Invariant: a name is judged by the policy before it is looked up, and the address that is connected to is the one that was
//! judged: public, or named by whoever runs the host. Nothing private, local or of a cloud's metadata is ever reached.
//!
//! The proxy's socket listens inside the sprite's network and is accepted here, so there is no way past it. It speaks
//! `CONNECT` and the absolute form of plain HTTP (RFC 9110 §9.3.6, RFC 9112 §3.2.2), which is what `HTTP_PROXY` and
//! `HTTPS_PROXY` mean to curl, git, cargo, npm, pip and most others.

mod address;
mod head;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    time::timeout,
};

use super::{
    init::PROXY_PORT,
    policy::{NetworkPolicy, Verdict},
};
use head::{Head, MAX_HEAD, Target};

/// Connections of one sprite to the outside at once.
const CONNECTIONS: usize = 256;
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Below 1024, only these ports: SSH, HTTP, HTTPS, git. Not mail, for one.
const LOW_PORTS: [u16; 4] = [22, 80, 443, 9418];

/// Names that lead to an address of the host's own network, by the will of whoever runs it.
pub(super) type Exceptions = BTreeMap<String, SocketAddr>;

/// The environment by which programs find the proxy.
pub(super) fn variables() -> [(&'static str, String); 7] {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let own = "localhost,127.0.0.1,::1".to_owned();
    [
        ("HTTP_PROXY", proxy.clone()),
        ("HTTPS_PROXY", proxy.clone()),
        ("http_proxy", proxy.clone()),
        ("https_proxy", proxy),
        ("NO_PROXY", own.clone()),
        ("no_proxy", own),
        // Node listens to the others only if it is told.
        ("NODE_USE_ENV_PROXY", "1".into()),
    ]
}

/// Why a connection was refused; the sentence goes to the program that asked.
#[derive(Debug)]
enum Refusal {
    NotHttp,
    Policy(String),
    Port(u16),
    Private(String),
    Unknown(String),
    Unreachable(String, io::Error),
    Busy,
}

impl Refusal {
    fn status(&self) -> &'static str {
        match self {
            Self::NotHttp => "400 Bad Request",
            Self::Policy(_) | Self::Port(_) | Self::Private(_) => "403 Forbidden",
            Self::Unknown(_) | Self::Unreachable(..) => "502 Bad Gateway",
            Self::Busy => "503 Service Unavailable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => write!(
                to,
                "this is an HTTP proxy; it takes CONNECT host:port and GET http://host/"
            ),
            Self::Policy(host) => write!(
                to,
                "the sprite's network policy does not allow {host}; whoever runs the agent can add a rule for it"
            ),
            Self::Port(port) => write!(to, "no sprite connects to port {port}"),
            Self::Private(host) => write!(
                to,
                "{host} is not on the public network; whoever runs the sprite host can name it under [sprites.hosts]"
            ),
            Self::Unknown(host) => write!(to, "{host} has no address"),
            Self::Unreachable(host, error) => write!(to, "{host} can't be reached: {error}"),
            Self::Busy => write!(
                to,
                "the sprite has {CONNECTIONS} connections to the outside already"
            ),
        }
    }
}

/// Serves one sprite's way out until its `listener` or the sprite is gone.
pub(super) async fn serve(
    listener: TcpListener,
    exceptions: Arc<Exceptions>,
    policy: impl Fn() -> NetworkPolicy + Send + Sync + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (policy, places) = (Arc::new(policy), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let (stream, _) = listener.accept().await?;
        let place = Arc::clone(&places).try_acquire_owned();
        let (policy, exceptions) = (Arc::clone(&policy), Arc::clone(&exceptions));
        tokio::spawn(async move {
            let outcome = match place {
                Ok(_place) => carry(stream, &exceptions, &*policy).await,
                Err(_) => refuse(stream, &Refusal::Busy).await,
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "a connection to the outside broke off");
            }
        });
    }
}

async fn carry(
    mut stream: TcpStream,
    exceptions: &Exceptions,
    policy: &(impl Fn() -> NetworkPolicy + ?Sized),
) -> io::Result<()> {
    let Ok(head) = timeout(HEAD_WITHIN, read_head(&mut stream)).await else {
        return Ok(());
    };
    let Some(head) = head? else {
        return refuse(stream, &Refusal::NotHttp).await;
    };
    let mut outside = match reach(&head.target, exceptions, policy).await {
        Ok(outside) => outside,
        Err(refusal) => {
            tracing::info!(host = head.target.host, port = head.target.port, %refusal, "a sprite was refused");
            return refuse(stream, &refusal).await;
        }
    };
    outside.set_nodelay(true)?;
    stream.set_nodelay(true)?;
    if head.tunnel {
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    }
    outside.write_all(&head.onward).await?;
    copy_bidirectional(&mut stream, &mut outside).await?;
    Ok(())
}

async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Head>> {
    let mut read = Vec::with_capacity(1024);
    loop {
        let mut room = (&mut *stream).take((MAX_HEAD - read.len()) as u64);
        if room.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        match Head::parse(&read) {
            head::Parsed::Whole(head) => return Ok(Some(head)),
            head::Parsed::Partial if read.len() < MAX_HEAD => {}
            head::Parsed::Partial | head::Parsed::Wrong => return Ok(None),
        }
    }
}

/// Connects to a target that the policy allows.
async fn reach(
    target: &Target,
    exceptions: &Exceptions,
    policy: &(impl Fn() -> NetworkPolicy + ?Sized),
) -> Result<TcpStream, Refusal> {
    let Target { host, port } = target;
    let addresses = match exceptions.get(host) {
        Some(address) => vec![*address],
        None => {
            if policy().verdict(host) == Verdict::Denied {
                return Err(Refusal::Policy(host.clone()));
            }
            if *port < 1024 && !LOW_PORTS.contains(port) {
                return Err(Refusal::Port(*port));
            }
            let found = timeout(CONNECT_WITHIN, lookup_host((host.as_str(), *port))).await;
            let Ok(Ok(found)) = found else {
                return Err(Refusal::Unknown(host.clone()));
            };
            let public: Vec<_> = found.filter(|address| address::is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Refusal::Private(host.clone()));
            }
            public
        }
    };
    let connecting = timeout(CONNECT_WITHIN, TcpStream::connect(&addresses[..])).await;
    connecting
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| Refusal::Unreachable(host.clone(), error))
}

async fn refuse(mut stream: TcpStream, refusal: &Refusal) -> io::Result<()> {
    let body = format!("{refusal}\n");
    let answer = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        refusal.status(),
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
