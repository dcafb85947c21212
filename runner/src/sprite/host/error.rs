//! How the host says no: the error JSON of the API in general and of its file endpoints.
//!
//! Invariant: every error answer is JSON with a stable code; codes the official client knows are used where they fit.

use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rustix::io::Errno;

use super::{rate::Left, resolve::Lost};
use crate::sprite::{FileErrorKind, wire::ApiErrorBody, wire_files::FileErrorBody};

/// What the framework says of a refusal is a sentence.
const MAX_WORDING_BYTES: usize = 4 << 10;

/// Why a host could not be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Another host owns the data directory.
    #[error("{path} is in use by another sprite host; stop that one or choose another directory")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory can't be used.
    #[error("{path} can't be used for sprites: {source}")]
    Storage {
        /// What was read or written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The host's own URL is none that names of sprites can be put before.
    #[error(
        "{url} can't be a sprite host's URL; give one with a domain name, like https://sprites.example.org"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// This machine does not let the host wall sprites in.
    #[error(
        "sprites can't be isolated on this machine: {source}; allow unprivileged user namespaces, run the host as root, \
         or, for agents you would give your own shell, pass --unsafe-no-isolation"
    )]
    NoIsolation {
        /// What failed when a sprite was tried.
        source: io::Error,
    },
    /// The listening socket failed.
    #[error("the sprite host can't serve its socket: {source}")]
    Serve {
        /// Why it failed.
        source: io::Error,
    },
}

impl HostError {
    /// The stable code of this error, snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "sprite_host_locked",
            Self::Storage { .. } => "sprite_host_storage",
            Self::Url { .. } => "sprite_host_url",
            Self::NoIsolation { .. } => "sprite_host_no_isolation",
            Self::Serve { .. } => "sprite_host_socket",
        }
    }
}

/// An error answer of the API in general.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ApiErrorBody,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = ApiErrorBody {
            error: code.to_owned(),
            message: message.into(),
            ..ApiErrorBody::default()
        };
        Self { status, body }
    }

    /// The sentence for people.
    pub(super) fn message(&self) -> &str {
        &self.body.message
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn gone(message: &str) -> Self {
        Self::new(StatusCode::GONE, "sprite_gone", message)
    }

    pub(super) fn no_sprite(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "sprite_not_found",
            format!("sprite {name} does not exist; create it first"),
        )
    }

    pub(super) fn no_session(id: &str) -> Self {
        let message =
            format!("session {id} does not exist or ended a while ago; list the sessions or start a new one");
        Self::new(StatusCode::NOT_FOUND, "session_not_found", message)
    }

    pub(super) fn limit(code: &str, message: impl Into<String>, limit: usize) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, code, message);
        error.body.limit = Some(limit as u64);
        error.body.current_count = Some(limit as u64);
        error.body.retry_after_seconds = Some(1);
        error
    }

    /// Too many creations within `window`.
    pub(super) fn rate(left: Left, window: Duration) -> Self {
        let message = format!(
            "{} sprites were created a moment ago; create the next one later",
            left.limit
        );
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "sprite_creation_rate_limited",
            message,
        );
        error.body.limit = Some(left.limit as u64);
        error.body.window_seconds = Some(window.as_secs());
        error.body.retry_after_seconds = Some(left.seconds);
        error
    }

    /// What it says, for answers that are not HTTP.
    pub(super) fn into_parts(self) -> (StatusCode, ApiErrorBody) {
        (self.status, self.body)
    }

    /// How long to wait before asking again, if asking again makes sense.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.body.retry_after_seconds.map(Duration::from_secs)
    }

    pub(super) fn internal(what: &str, source: &io::Error) -> Self {
        tracing::error!(%source, what, "the sprite host failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("{what}: {source}"),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (limit, retry) = (self.body.limit, self.body.retry_after_seconds);
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = retry {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            let limit = usize::try_from(limit.unwrap_or_default()).unwrap_or(usize::MAX);
            let left = Left {
                limit,
                remaining: 0,
                seconds,
            };
            left.put(response.headers_mut());
        }
        response
    }
}

impl Left {
    /// Says it in the headers that clients of the API look for; the reset is a Unix time in seconds.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        for (name, value) in [
            ("x-ratelimit-limit", self.limit as u64),
            ("x-ratelimit-remaining", self.remaining as u64),
            ("x-ratelimit-reset", now + self.seconds),
        ] {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

/// An error answer of a file endpoint.
#[derive(Debug)]
pub(super) struct FileError {
    pub(super) kind: FileErrorKind,
    pub(super) message: String,
    pub(super) path: String,
}

impl FileError {
    pub(super) fn new(kind: FileErrorKind, path: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            path: path.to_owned(),
        }
    }

    /// About no path in particular.
    pub(super) fn from_message(message: impl Into<String>) -> Self {
        Self::invalid("", message)
    }

    pub(super) fn invalid(path: &str, message: impl Into<String>) -> Self {
        Self::new(FileErrorKind::Invalid, path, message)
    }

    /// `path` leads to no place in the sprite.
    pub(super) fn lost(path: &str, why: Lost) -> Self {
        match why {
            Lost::Unusable => Self::invalid(path, "the path is empty, too long or has a NUL in it"),
            Lost::Outside => Self::new(
                FileErrorKind::Denied,
                path,
                "the path leads outside the sprite's file system",
            ),
            Lost::Errno(errno) => Self::from_errno(path, errno),
        }
    }

    pub(super) fn from_errno(path: &str, errno: Errno) -> Self {
        let (kind, message) = match errno {
            Errno::NOENT => (FileErrorKind::NotFound, "no such file or directory"),
            Errno::EXIST => (FileErrorKind::Exists, "something is there already"),
            Errno::NOTDIR => (
                FileErrorKind::NotDirectory,
                "a part of the path is not a directory",
            ),
            Errno::ISDIR => (FileErrorKind::IsDirectory, "it is a directory"),
            Errno::NOTEMPTY => (FileErrorKind::NotEmpty, "the directory is not empty"),
            Errno::ACCESS => (FileErrorKind::Denied, "permission denied"),
            Errno::ROFS => (FileErrorKind::Denied, "this part of the sprite is read-only"),
            Errno::PERM => (FileErrorKind::NotPermitted, "the operation is not permitted"),
            Errno::NAMETOOLONG => (FileErrorKind::Invalid, "the name is too long"),
            // O_NOFOLLOW met a symlink that was not there a moment ago.
            Errno::LOOP => (
                FileErrorKind::Denied,
                "the path runs through too many symlinks, or changed under our feet",
            ),
            Errno::NOSPC | Errno::DQUOT => (FileErrorKind::Io, "the disk is full"),
            _ => return Self::new(FileErrorKind::Io, path, errno.to_string()),
        };
        Self::new(kind, path, message)
    }

    pub(super) fn from_io(path: &str, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self::from_errno(path, errno),
            None => Self::new(FileErrorKind::Io, path, error.to_string()),
        }
    }
}

impl IntoResponse for FileError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            FileErrorKind::NotFound => StatusCode::NOT_FOUND,
            FileErrorKind::Denied | FileErrorKind::NotPermitted => StatusCode::FORBIDDEN,
            FileErrorKind::Exists | FileErrorKind::NotEmpty => StatusCode::CONFLICT,
            FileErrorKind::NotDirectory | FileErrorKind::IsDirectory | FileErrorKind::Invalid => {
                StatusCode::BAD_REQUEST
            }
            FileErrorKind::Io => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = FileErrorBody {
            error: self.message,
            code: self.kind.as_str().to_owned(),
            path: self.path,
        };
        (status, Json(body)).into_response()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// Either kind of error: a file request can fail before it gets to files.
#[derive(Debug)]
pub(super) enum Failure {
    Api(ApiError),
    File(FileError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => f.write_str(&error.body.message),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Api(error) => error.into_response(),
            Self::File(error) => error.into_response(),
        }
    }
}

/// Makes JSON of refusals that the framework words itself: of a query it can't read, for example.
pub(super) async fn speak_json(response: Response) -> Response {
    let status = response.status();
    let content = response.headers().get(header::CONTENT_TYPE);
    let is_text = content.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !is_text {
        return response;
    }
    let said = axum::body::to_bytes(response.into_body(), MAX_WORDING_BYTES)
        .await
        .unwrap_or_default();
    let code = if status.is_client_error() {
        "bad_request"
    } else {
        "internal"
    };
    ApiError::new(status, code, String::from_utf8_lossy(&said)).into_response()
}

pub(super) async fn no_such_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_endpoint",
        "this sprite host has no such endpoint",
    )
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "the endpoint has no such method",
    )
}
