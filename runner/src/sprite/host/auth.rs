//! Who may use the host: whoever has its token.
//!
//! Invariant: no route answers anything but 401 without it, and the comparison takes the same time wherever it fails.

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{Host, error::ApiError};

pub(super) async fn require_token(State(host): State<Host>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let expected = host.store.config().token.as_bytes();
    match given {
        Some(given) if !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected)) => {
            next.run(request).await
        }
        _ => {
            let message = "the bearer token is missing or wrong; use the one this host was started with";
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
        }
    }
}
