//! A GitHub as git sees it: the API of the stand-in, and repositories over git's smart HTTP by `git http-backend`, which
//! want a token that the stand-in has given for them.
//!
//! Invariant: nothing is read without a token good for that repository's contents, nothing pushed without one that may
//! write; the requests' credentials are recorded as they came.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, task::JoinHandle};

/// The largest request.
const LIMIT: usize = 16 << 20;

/// Not the loopback's own name: programs in a sprite take that for the sprite's, and ask no proxy for it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A running server; ends when dropped.
pub struct GitServer {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    api: String,
    repositories: PathBuf,
    /// A token that may do everything, beside those the API gives.
    token: Option<String>,
    issued: Mutex<Vec<Issued>>,
    http: reqwest::Client,
}

/// A token as the API gave it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// What it was narrowed to: `repositories` and `permissions`.
    pub narrowed: Value,
}

impl GitServer {
    /// Serves the bare repositories `OWNER/NAME.git` below `repositories`, and all else by the API at `api`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(api: &str, repositories: PathBuf, token: Option<&str>) -> Self {
        let listener = tokio::net::TcpListener::bind((ADDRESS, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            api: api.to_owned(),
            repositories,
            token: token.map(str::to_owned),
            issued: Mutex::default(),
            http: reqwest::Client::new(),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, shared, task }
    }

    /// `http://127.0.0.2:PORT`, of API and repositories.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name and the address by which a sprite host lets its sprites through to it.
    ///
    /// # Panics
    /// Never: the URL was made of an address.
    pub fn way(&self) -> (String, SocketAddr) {
        let address = self
            .url
            .trim_start_matches("http://")
            .parse()
            .expect("an address");
        (ADDRESS.to_string(), address)
    }

    /// The tokens given so far.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn issued(&self) -> Vec<Issued> {
        self.shared.issued.lock().expect("the lock").clone()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LIMIT).await.expect("a small body");
    let path = parts.uri.path().to_owned();
    let Some((repository, _)) = path.trim_start_matches('/').split_once(".git/") else {
        return forward(&shared, parts, body).await;
    };
    let query = parts.uri.query().unwrap_or_default();
    let writes = path.ends_with("/git-receive-pack") || query.contains("service=git-receive-pack");
    if !shared.allows(&parts.headers, repository, writes) {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"GitHub\"")];
        return (StatusCode::UNAUTHORIZED, ask, "no").into_response();
    }
    let header = |name: &str| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.repositories)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "somebody")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("git http-backend");
    let mut input = backend.stdin.take().expect("a pipe");
    let feed = tokio::spawn(async move { input.write_all(&body).await });
    let output = backend.wait_with_output().await.expect("it ends");
    let _ = feed.await;
    from_cgi(&output.stdout)
}

/// A CGI program's output as a response.
fn from_cgi(output: &[u8]) -> Response {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("headers");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        response = match name {
            "Status" => response.status(&value[..3]),
            _ => response.header(name, value),
        };
    }
    response
        .body(Body::from(output[end + 4..].to_vec()))
        .expect("a response")
}

async fn forward(shared: &Shared, parts: http::request::Parts, body: axum::body::Bytes) -> Response {
    let url = format!("{}{}", shared.api, parts.uri);
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let answer = shared
        .http
        .request(parts.method, url)
        .headers(headers)
        .body(body.clone())
        .send()
        .await
        .expect("the API answers");
    let status = answer.status();
    let bytes = answer.bytes().await.expect("a body");
    if parts.uri.path().ends_with("/access_tokens") && status == StatusCode::CREATED {
        let given: Value = serde_json::from_slice(&bytes).expect("JSON");
        shared.issued.lock().expect("the lock").push(Issued {
            token: given["token"].as_str().expect("a token").to_owned(),
            narrowed: serde_json::from_slice(&body).expect("JSON"),
        });
    }
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

impl Shared {
    fn allows(&self, headers: &HeaderMap, repository: &str, writes: bool) -> bool {
        let Some(password) = password(headers) else {
            return false;
        };
        if self.token.as_ref() == Some(&password) {
            return true;
        }
        let name = repository.split_once('/').map_or(repository, |(_, name)| name);
        self.issued.lock().expect("the lock").iter().any(|issued| {
            let contents = issued.narrowed["permissions"]["contents"].as_str();
            issued.token == password
                && issued.narrowed["repositories"] == serde_json::json!([name])
                && (contents == Some("write") || (contents == Some("read") && !writes))
        })
    }
}

fn password(headers: &HeaderMap) -> Option<String> {
    let basic = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(basic).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}
