//! Who looks at the pages, what becomes of those who may not, and the headers that every answer carries.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Redirect, Response},
};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    request::Parts,
};

use super::layout;
use crate::{
    auth::session::Person,
    db::{DbError, ValueError},
    edge::Edge,
    error::ApiError,
};

/// Everything comes from us, nothing runs inline, nobody may frame us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A signed-in person at a page.
pub(super) struct Visitor(pub(super) Person);

/// Why there is no such page for this visitor.
pub(super) enum Refusal {
    /// They have to sign in first; then this page.
    SignIn(String),
    /// Something is wrong.
    Problem(ApiError),
}

impl FromRequestParts<Arc<Edge>> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        match Person::of(edge, &parts.method, &parts.headers).await {
            Ok(person) => Ok(Self(person)),
            Err(error) if error.status == StatusCode::UNAUTHORIZED => {
                let target = parts.uri.path_and_query().map(|target| target.as_str());
                let target = target.filter(|_| parts.method == Method::GET);
                Err(Refusal::SignIn(target.unwrap_or_default().to_owned()))
            }
            Err(error) => Err(Refusal::Problem(error)),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(next) if next.is_empty() => Redirect::to("/admin/login").into_response(),
            Self::SignIn(next) => {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("next", &next)
                    .finish();
                Redirect::to(&format!("/admin/login?{query}")).into_response()
            }
            Self::Problem(error) => {
                let page = layout::problem(&error);
                let mut response = error.into_response();
                let (status, retry) = (response.status(), response.headers_mut().remove("retry-after"));
                let mut answer = (status, page).into_response();
                if let Some(retry) = retry {
                    answer.headers_mut().insert("retry-after", retry);
                }
                answer
            }
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Problem(error)
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<ValueError> for Refusal {
    fn from(error: ValueError) -> Self {
        Self::Problem(error.into())
    }
}

/// The id a path names.
pub(super) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| ApiError::not_found(what).into())
}

/// What a filter's field says; nothing where it is left at "all".
pub(super) fn chosen(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The id in a filter's field; nothing where it is left at "all".
pub(super) fn chosen_id<T: std::str::FromStr>(text: &str, what: &str) -> Result<Option<T>, Refusal> {
    chosen(text).map(|text| id(&text, what)).transpose()
}

/// What no route is for.
pub(super) async fn unknown(_visitor: Visitor) -> Refusal {
    ApiError::not_found("page").into()
}

/// Adds the headers that every answer carries.
pub(super) async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Forms need an Origin to be known as ours, so not `no-referrer`.
        (REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
