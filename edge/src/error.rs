//! How the edge says no over HTTP: a status, a stable code, one sentence, and when to come back.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use roost_shared::problem::{Problem, ProblemBody};

use crate::{
    auth::{seal::SealError, spent::TOKEN_REVOKED, token::TokenError},
    db::{DbError, ValueError},
    ingress::channel::Rejection,
};

/// An error answer. `docs/reference/errors.md` has a line per code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Code and sentence.
    pub problem: Problem,
    /// When to come back, for what passes.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with this status, code and sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem::new(code, message),
            retry_after: None,
        }
    }

    /// 404: there is no such thing (in this workspace).
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {what} here; check the address"),
        )
    }

    /// 400: what was sent makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 401: sign in, or send a token.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 413: the body is over the limit.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the {limit} bytes allowed here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// 409: somebody else drives this run now.
    pub fn stale_lease() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "stale_lease",
            "this lease is no longer the run's: another runner drives it or it has ended; drop the run",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(code = self.problem.code, "{}", self.problem.message);
        }
        let mut response = (self.status, Json(ProblemBody { error: self.problem })).into_response();
        if let Some(span) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(span.as_secs().max(1)));
        }
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) => Self {
                retry_after: Some(Duration::from_secs(5)),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "database_unavailable",
                    format!("{error}; nothing was stored, send the same request again"),
                )
            },
            DbError::Refused { code: TOKEN_REVOKED } => Self::new(
                StatusCode::UNAUTHORIZED,
                TOKEN_REVOKED,
                "the token has been revoked; make a new one",
            ),
            DbError::Refused { code } => Self::new(
                StatusCode::CONFLICT,
                code,
                "something changed in between; try again",
            ),
            DbError::Sql(_) | DbError::Value(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "database_error",
                error.to_string(),
            ),
        }
    }
}

impl From<ValueError> for ApiError {
    fn from(error: ValueError) -> Self {
        DbError::from(error).into()
    }
}

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "secret_sealed",
            error.to_string(),
        )
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let (code, message) = match error {
            TokenError::Forged => (
                "token_invalid",
                "the token is not one of this edge's for this use; make a new one",
            ),
            TokenError::Expired => ("token_expired", "the token has expired; make a new one"),
        };
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection {
            Rejection::SignatureMissing { .. } | Rejection::SignatureWrong | Rejection::SignatureOld(_) => {
                StatusCode::UNAUTHORIZED
            }
            Rejection::Header(_) | Rejection::Malformed(_) => StatusCode::BAD_REQUEST,
            Rejection::Secret(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, rejection.code(), rejection.to_string())
    }
}
