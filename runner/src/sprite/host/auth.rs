//! Who may use the host: whoever has its token.
//!
//! Invariant: no route of the API answers anything but 401 without it, and the comparison takes the same time wherever it
//! fails.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{Host, error::ApiError};

pub(super) async fn require_token(State(host): State<Host>, request: Request, next: Next) -> Response {
    if is_given(&host, request.headers()) {
        next.run(request).await
    } else {
        refusal().into_response()
    }
}

/// Whether the request carries the host's token.
pub(super) fn is_given(host: &Host, headers: &HeaderMap) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let expected = host.store.config().token.as_bytes();
    given.is_some_and(|given| !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected)))
}

/// What who has no token is told.
pub(super) fn refusal() -> ApiError {
    let message = "the bearer token is missing or wrong; use the one this host was started with";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}
