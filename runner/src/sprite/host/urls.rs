//! The sprites' own addresses: a web server inside a sprite, reached by name.
//!
//! Invariant: without the host's token only a sprite that is set to `public` answers, and a server inside never sees that
//! token. A request holds the sprite awake until its answer, or the connection it became, has ended.

use std::io;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use super::{Host, activity::Busy, auth, error::ApiError, local::LocalSprite, ports};

/// Where a sprite's web server listens unless a service says otherwise.
const HTTP_PORT: u16 = 8080;

/// Of one connection each, not of the request; `Transfer-Encoding` is set anew by who sends.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// What a request holds until its answer has ended: the sprite awake, and its place among the host's connections.
type Held = (Busy, OwnedSemaphorePermit);

/// Answers requests for names of sprites; all others go on.
pub(super) async fn route(State(host): State<Host>, request: Request, next: Next) -> Response {
    let named = request
        .headers()
        .get(header::HOST)
        .and_then(|name| name.to_str().ok())
        .or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    match named.and_then(|named| host.address.sprite(named)) {
        Some(name) => forward(&host, &name, request)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        None => next.run(request).await,
    }
}

async fn forward(host: &Host, name: &str, mut request: Request) -> Result<Response, ApiError> {
    let has_token = auth::is_given(host, request.headers());
    // Who may not look gets the same answer whether there is such a sprite or not.
    let sprite = match host.store.get(name) {
        Ok(sprite) if has_token || sprite.settings().is_public() => sprite,
        Err(absent) if has_token => return Err(absent),
        Ok(_) | Err(_) => return Err(auth::refusal()),
    };
    if has_token {
        request.headers_mut().remove(header::AUTHORIZATION);
    }
    let held = (sprite.activity.begin()?, host.connection()?);
    let stream = connect(&sprite).await?;
    exchange(request, stream, held)
        .await
        .map_err(|error| unreachable(format!("the server inside sprite {name} broke off: {error}")))
}

async fn connect(sprite: &LocalSprite) -> Result<TcpStream, ApiError> {
    let port = sprite.services.web_port().await.unwrap_or(HTTP_PORT);
    let connected = ports::connect(sprite, port).await?;
    connected.map_err(|error| {
        let name = &sprite.record.name;
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
            _ => error.to_string(),
        };
        unreachable(format!("port {port} of sprite {name} can't be reached: {why}"))
    })
}

fn unreachable(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, "sprite_port_unreachable", message)
}

/// One request and its answer over a connection of their own.
async fn exchange(mut request: Request, stream: TcpStream, held: Held) -> Result<Response, hyper::Error> {
    let ours = upgraded(request.headers()).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    outgoing(&mut request, ours.as_ref().map(|(protocol, _)| protocol));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a server inside a sprite ended");
        }
    });
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some((_, ours)) = ours
    {
        let theirs = hyper::upgrade::on(&mut response);
        tokio::spawn(join(ours, theirs, held));
        return Ok(response.map(Body::new));
    }
    strip(response.headers_mut());
    // The sprite stays awake for as long as its answer is read.
    let hold = move |frame| {
        let _held = &held;
        frame
    };
    Ok(response.map(|body| Body::new(body.map_frame(hold))))
}

/// The protocol a client wants to go on with, a WebSocket for example.
fn upgraded(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get(header::CONNECTION)?.to_str().ok()?;
    let wants = connection
        .split(',')
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wants).cloned()
}

/// Makes of a request as it came in one as it goes out.
fn outgoing(request: &mut Request, upgrade: Option<&HeaderValue>) {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.version_mut() = axum::http::Version::HTTP_11;
    let headers = request.headers_mut();
    strip(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// Takes out what is of one connection, with what `Connection` names besides.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Carries what became of a request, a WebSocket for example, until either side ends it.
async fn join(ours: OnUpgrade, theirs: OnUpgrade, held: Held) {
    let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else {
        return;
    };
    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
    if let Err(error) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
        tracing::debug!(%error, "a connection through a sprite's address broke");
    }
    drop(held);
}
