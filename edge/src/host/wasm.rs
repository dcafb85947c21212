//! What the wasm hosts have in common: an edge per request, its variables, the limits of a call, and a log.
//!
//! Invariant: an edge lives for one request. These runtimes tie every socket, timer and waker to the request that began
//! it, so of one request only plain data may serve another: kept snapshots and credentials, what waits to be written, and
//! who does what follows.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::StatusCode;
use tower_service::Service;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::jwt;
use crate::{
    auth::keys::MasterKey,
    db::hrana::{HranaDatabase, RelayedDatabase},
    edge::{Edge, PrivateAddresses, Settings},
    error::ApiError,
    ports::{Background, Clock, HttpClient, HttpError, Ports, Random},
};

/// How long one outbound request may take.
pub(super) const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// How many bytes one answer may have.
const LONGEST_ANSWER: usize = 10 << 20;

/// What a host brings itself; the database is reached through its HTTP.
pub(super) struct HostPorts {
    pub(super) http: Arc<dyn HttpClient>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    /// Bound to the request at hand.
    pub(super) background: Arc<dyn Background>,
}

/// The edge for one request. `variable` gives the host's variables by name, `log` prints a line.
///
/// # Errors
/// 503 `not_configured`, with the variable that is missing or wrong.
pub(super) fn edge(
    ports: HostPorts,
    log: fn(&str),
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Arc<Edge>, ApiError> {
    static KEPT: OnceLock<Arc<Edge>> = OnceLock::new();
    let background = ports.background.clone();
    let kept = match KEPT.get() {
        Some(kept) => kept,
        None => {
            // The first one stays; there is one thread, so nobody else comes first.
            drop(tracing::subscriber::set_global_default(Log(log)));
            let edge = configure(ports, variable)?;
            KEPT.get_or_init(|| edge)
        }
    };
    Ok(kept.for_request(background))
}

fn configure(ports: HostPorts, variable: impl Fn(&str) -> Option<String>) -> Result<Arc<Edge>, ApiError> {
    let optional = |name| variable(name).filter(|value| !value.is_empty());
    let required = |name| {
        optional(name).ok_or_else(|| {
            not_configured(format!(
                "{name} is not set; give it to the edge and start it again"
            ))
        })
    };
    let wrong = |name, error: &dyn fmt::Display| not_configured(format!("{name}: {error}"));

    let master = MasterKey::parse(&required("ROOST_MASTER_KEY")?)
        .map_err(|error| wrong("ROOST_MASTER_KEY", &error))?;
    let mut settings = Settings::new(required("ROOST_PUBLIC_URL")?.trim_end_matches('/'));
    settings.private_addresses = match optional("ROOST_PRIVATE_ADDRESSES").as_deref() {
        None | Some("refused") => PrivateAddresses::Refused,
        Some("allowed") => PrivateAddresses::Allowed,
        Some(_) => {
            return Err(wrong(
                "ROOST_PRIVATE_ADDRESSES",
                &"it is either `refused` or `allowed`",
            ));
        }
    };
    if let Some(days) = optional("ROOST_KEEP_PAYLOADS_DAYS") {
        let days: u32 = days
            .parse()
            .map_err(|_| wrong("ROOST_KEEP_PAYLOADS_DAYS", &"it is a number of days, 0 for ever"))?;
        settings.keep_payloads_days = NonZeroU32::new(days);
    }
    let (url, token) = (required("ROOST_DATABASE_URL")?, optional("ROOST_DATABASE_TOKEN"));
    let (http, clock, random) = (ports.http.clone(), ports.clock.clone(), ports.random.clone());
    let database = HranaDatabase::new(http, clock, random, &url, token.as_deref())
        .map_err(|error| wrong("ROOST_DATABASE_URL", &error))?;
    let ports = Ports {
        database: Arc::new(RelayedDatabase::new(database)),
        http: ports.http,
        clock: ports.clock,
        random: ports.random,
        background: ports.background,
    };
    jwt::install();
    Ok(Edge::new(ports, settings, &master))
}

fn not_configured(message: String) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_configured", message)
}

/// The edge's answer to one request, or why there is no edge.
pub(super) async fn answer(
    edge: Result<Arc<Edge>, ApiError>,
    request: http::Request<axum::body::Body>,
) -> Response {
    match edge {
        Ok(edge) => edge.router().call(request).await.into_response(),
        Err(error) => error.into_response(),
    }
}

/// Reads a whole answer's body, up to the limit.
///
/// # Errors
/// When it is cut off or too long: by then the request has been acted on.
pub(super) async fn read_body<E: fmt::Display>(
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Result<Bytes, HttpError> {
    let unknown = |error: E| HttpError::Unknown(error.to_string());
    let whole = body
        .map_err(unknown)
        .try_fold(Vec::new(), async |mut whole, part| {
            if whole.len() + part.len() > LONGEST_ANSWER {
                return Err(HttpError::Unknown(format!(
                    "the answer is longer than {LONGEST_ANSWER} bytes"
                )));
            }
            whole.extend_from_slice(&part);
            Ok(whole)
        });
    whole.await.map(Bytes::from)
}

/// Prints warnings and errors, one line each: on these hosts the runtime keeps the log.
struct Log(fn(&str));

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        (self.0)(&line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
