//! Signing in and out, and who is signed in.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::SET_COOKIE};
use roost_shared::UnixMillis;
use serde::{Deserialize, Serialize};

use super::extract::Body;
use crate::{
    auth::{
        session::{self, Person},
        token::Claims,
    },
    edge::Edge,
    error::ApiError,
};

/// A login code, to be exchanged for a session.
#[derive(Debug, Deserialize)]
pub struct Login {
    /// What `roost code` or `roost up` printed. Good once.
    pub code: String,
}

/// Who asks, and for how long they may.
#[derive(Debug, Serialize)]
pub struct Session {
    /// Who.
    pub name: String,
    /// The workspace they are in.
    pub workspace: String,
    /// Until when the session or token is good.
    pub expires_at: UnixMillis,
}

impl From<Claims> for Session {
    fn from(claims: Claims) -> Self {
        Self {
            expires_at: UnixMillis(claims.exp.saturating_mul(1000)),
            name: claims.sub,
            workspace: claims.workspace,
        }
    }
}

/// `POST /api/v1/login`.
pub(super) async fn sign_in(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    Body(login): Body<Login>,
) -> Result<Response, ApiError> {
    let signed_in = session::sign_in(&edge, &headers, &login.code).await?;
    let cookie = [(SET_COOKIE, signed_in.cookie)];
    Ok((cookie, Json(Session::from(signed_in.claims))).into_response())
}

/// `POST /api/v1/logout`.
pub(super) async fn sign_out(State(edge): State<Arc<Edge>>, person: Person) -> Result<Response, ApiError> {
    let cookie = [(SET_COOKIE, person.sign_out(&edge).await?)];
    Ok((StatusCode::NO_CONTENT, cookie).into_response())
}

/// `GET /api/v1/session`.
pub(super) async fn show(person: Person) -> Json<Session> {
    Json(person.claims.into())
}
