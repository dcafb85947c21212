//! The stand-in's credentials: the App's JWTs are checked as GitHub checks them, and installation tokens are good only
//! for the repositories they were narrowed to.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, routes::refusal};

/// The longest a JWT may be good, in seconds; and how far clocks may differ.
const LONGEST: i64 = 600;
const LEEWAY: i64 = 60;

/// An installation token that was issued.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    token: String,
    /// Names of repositories, without their owner; empty means all of the installation.
    repositories: Vec<String>,
}

#[derive(Deserialize)]
struct AppClaims {
    iat: i64,
    exp: i64,
}

pub(super) async fn issue(
    State(shared): State<Arc<Shared>>,
    Path(installation): Path<u64>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    shared.requests.push((uri.path().to_owned(), body.clone()));
    if let Err(words) = is_app(&shared, &headers) {
        return refusal(StatusCode::UNAUTHORIZED, words);
    }
    let repositories: Vec<String> = body["repositories"]
        .as_array()
        .map(|names| {
            names
                .iter()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect()
        })
        .unwrap_or_default();
    let mut state = shared.state();
    let token = format!("ghs_standin{installation}n{}", state.issued.len());
    state.issued.push(Issued {
        token: token.clone(),
        repositories,
    });
    drop(state);
    let expires = "2099-01-01T00:00:00Z";
    let answer = json!({"token": token, "expires_at": expires, "permissions": body["permissions"]});
    (StatusCode::CREATED, Json(answer)).into_response()
}

pub(super) fn is_app(shared: &Shared, headers: &HeaderMap) -> Result<(), &'static str> {
    const UNDECODABLE: &str = "A JSON web token could not be decoded";
    let key = shared
        .config
        .app_public_key
        .as_ref()
        .ok_or("Integration not found")?;
    let key = DecodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| "Integration not found")?;
    let token = bearer(headers).ok_or(UNDECODABLE)?;
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_aud = false;
    let claims = jsonwebtoken::decode::<AppClaims>(token, &key, &rules)
        .map_err(|_| UNDECODABLE)?
        .claims;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
        .cast_signed();
    if claims.iat > now + LEEWAY {
        return Err(
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        );
    }
    if claims.exp > now + LONGEST + LEEWAY {
        return Err("'Expiration time' claim ('exp') is too far in the future");
    }
    Ok(())
}

/// Whether the request's credential is good for `repository`, given as `owner/name`.
pub(super) fn may_write(shared: &Shared, headers: &HeaderMap, repository: &str) -> bool {
    let Some(token) = bearer(headers) else {
        return false;
    };
    if shared.config.token.as_deref() == Some(token) {
        return !shared.state().revoked;
    }
    let name = repository.split_once('/').map_or(repository, |(_, name)| name);
    shared.state().issued.iter().any(|issued| {
        issued.token == token
            && (issued.repositories.is_empty() || issued.repositories.iter().any(|allowed| allowed == name))
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    value
        .strip_prefix("Bearer ")
        .or_else(|| value.strip_prefix("token "))
}
