//! Who asks: a person or their program, known by an API token or by a signed-in browser's cookie.
//!
//! Invariants: neither is good once revoked; and a cookie, which browsers send along by themselves, changes nothing
//! unless the request comes from one of our own pages.

use std::{sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{COOKIE, HOST, ORIGIN},
    request::Parts,
};
use roost_shared::UnixMillis;

use super::{
    bearer,
    spent::{self, TOKEN_REVOKED},
    token::{Audience, Claims, TokenError, Tokens},
};
use crate::{
    db::{DbError, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// How long a browser stays signed in.
pub const SESSION: Duration = Duration::from_secs(12 * 3600);
/// The refusal of a login code that has been used.
const CODE_SPENT: &str = "code_spent";

/// A person, or a program of theirs, that may use the public API and the admin.
#[derive(Clone)]
pub struct Person {
    /// What their token says.
    pub claims: Claims,
    /// The workspace they are in.
    pub scope: Scope,
}

/// A browser that has just signed in.
pub struct SignedIn {
    /// What the session's token says.
    pub claims: Claims,
    /// The `Set-Cookie` header's value.
    pub cookie: HeaderValue,
}

/// Where a request comes from, as the browser tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    OwnPage,
    Elsewhere,
    /// Not from a browser, or from one that does not tell.
    Unsaid,
}

impl Person {
    /// The person who sends a request with this method and these headers.
    ///
    /// # Errors
    /// 401 without a good token or cookie, 403 `cross_site`, 503 when the database is away.
    pub async fn of(edge: &Edge, method: &Method, headers: &HeaderMap) -> Result<Self, ApiError> {
        let claims = if let Some(token) = bearer(headers) {
            edge.tokens.check(Audience::Api, token, edge.now())?
        } else {
            let token = cookie(headers, cookie_name(edge)).ok_or_else(|| {
                ApiError::unauthorized(
                    "send an API token as `Authorization: Bearer …` (`roost token` makes one), or sign in",
                )
            })?;
            let claims = edge.tokens.check(Audience::Session, token, edge.now())?;
            if !method.is_safe() && source(edge, headers) != Source::OwnPage {
                return Err(cross_site());
            }
            claims
        };
        let person = Self {
            scope: edge.scope(&claims.workspace),
            claims,
        };
        person.scope.read(vec![person.guard()]).await?;
        Ok(person)
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.claims.sub
    }

    /// Until when they may go on.
    pub fn until(&self) -> UnixMillis {
        UnixMillis(self.claims.exp.saturating_mul(1000))
    }

    /// Holds a batch back when their token has been revoked meanwhile.
    pub(crate) fn guard(&self) -> Statement {
        spent::not_spent(&self.scope, TOKEN_REVOKED, self.claims.jti)
    }

    /// Ends their session (or API token), and gives the header by which the browser forgets its cookie.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sign_out(&self, edge: &Edge) -> Result<HeaderValue, ApiError> {
        let spend = spent::spend(&self.scope, self.claims.jti, edge.now(), self.until());
        self.scope.write(vec![spend]).await?;
        set_cookie(edge, "", Duration::ZERO)
    }
}

impl FromRequestParts<Arc<Edge>> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, ApiError> {
        Self::of(edge, &parts.method, &parts.headers).await
    }
}

/// Exchanges a login code for a session. A code is good once.
///
/// # Errors
/// 401 `code_invalid`, `code_expired` or `code_spent`; 403 `cross_site` when another site's page asks.
pub async fn sign_in(edge: &Edge, headers: &HeaderMap, code: &str) -> Result<SignedIn, ApiError> {
    if source(edge, headers) == Source::Elsewhere {
        return Err(cross_site());
    }
    let refused = |code, what| {
        let message = format!("{what}; `roost code` makes a new one");
        ApiError::new(StatusCode::UNAUTHORIZED, code, message)
    };
    let now = edge.now();
    let login = edge
        .tokens
        .check(Audience::Login, code.trim(), now)
        .map_err(|error| match error {
            TokenError::Forged => refused("code_invalid", "this is no login code of this edge"),
            TokenError::Expired => refused("code_expired", "the login code has expired"),
        })?;
    let scope = edge.scope(&login.workspace);
    let expires = UnixMillis(login.exp.saturating_mul(1000));
    let batch = vec![
        spent::not_spent(&scope, CODE_SPENT, login.jti),
        spent::spend(&scope, login.jti, now, expires),
    ];
    match scope.write(batch).await {
        Ok(_) => {}
        Err(DbError::Refused { code: CODE_SPENT }) => {
            return Err(refused(CODE_SPENT, "the login code has been used before"));
        }
        Err(error) => return Err(error.into()),
    }
    let claims = Tokens::claims(
        Audience::Session,
        edge.token_id(),
        &login.workspace,
        &login.sub,
        now,
        SESSION,
    );
    let cookie = set_cookie(edge, &edge.tokens.issue(&claims)?, SESSION)?;
    Ok(SignedIn { claims, cookie })
}

fn cross_site() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        "the request does not come from a page of this edge; programs send an API token instead of the cookie",
    )
}

fn is_https(edge: &Edge) -> bool {
    edge.settings.public_url.starts_with("https://")
}

/// Over https the name's prefix keeps other hosts of the domain from setting it (RFC 6265bis, `__Host-`).
fn cookie_name(edge: &Edge) -> &'static str {
    if is_https(edge) {
        "__Host-roost_session"
    } else {
        "roost_session"
    }
}

fn set_cookie(edge: &Edge, token: &str, span: Duration) -> Result<HeaderValue, ApiError> {
    let secure = if is_https(edge) { "; Secure" } else { "" };
    let name = cookie_name(edge);
    let age = span.as_secs();
    HeaderValue::try_from(format!(
        "{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}"
    ))
    .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// Browsers say it in `Sec-Fetch-Site` where the page was fetched safely, else in `Origin`.
fn source(edge: &Edge, headers: &HeaderMap) -> Source {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => return Source::OwnPage,
        Some(_) => return Source::Elsewhere,
        None => {}
    }
    if !headers.contains_key(ORIGIN) {
        return Source::Unsaid;
    }
    let own = text(ORIGIN).is_some_and(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        Some(origin) == public_origin(edge) || (host.is_some() && host == text(HOST))
    });
    if own { Source::OwnPage } else { Source::Elsewhere }
}

/// Scheme and authority of the public address.
fn public_origin(edge: &Edge) -> Option<&str> {
    let url = edge.settings.public_url.as_str();
    let authority = url.find("://")? + 3;
    let end = url[authority..]
        .find('/')
        .map_or(url.len(), |length| authority + length);
    url.get(..end)
}
