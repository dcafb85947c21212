//! Tokens for runners and for programs. They are signed, not stored: each is shown once, and its id is all that is
//! needed to revoke it.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use http::StatusCode;
use roost_shared::{TokenId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::extract::{Body, Id};
use crate::{
    auth::{
        session::Person,
        spent,
        token::{Audience, Tokens},
    },
    edge::Edge,
    error::ApiError,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a token is good where nothing else is asked for.
const DEFAULT_DAYS: u32 = 365;
/// How long a token can be good, and so how long a revocation is remembered.
const MOST_DAYS: u32 = 3650;

/// What a token is to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Leasing runs and writing their journals.
    Runner,
    /// This API.
    Api,
}

/// A token as a person asks for it.
#[derive(Debug, Deserialize)]
pub struct TokenDraft {
    /// What it is for.
    #[serde(rename = "for")]
    pub purpose: Purpose,
    /// Who will hold it, 1 to 100 bytes.
    pub name: String,
    /// Days it is good, 1 to 3650; 365 without.
    #[serde(default)]
    pub days: Option<u32>,
}

/// A token, shown this once.
#[derive(Debug, Serialize)]
pub struct NewToken {
    /// Its id, by which it can be revoked.
    pub id: TokenId,
    /// What it is for.
    #[serde(rename = "for")]
    pub purpose: Purpose,
    /// Who holds it.
    pub name: String,
    /// The token itself.
    pub token: String,
    /// Until when it is good.
    pub expires_at: UnixMillis,
}

/// `POST /api/v1/tokens`.
pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Body(draft): Body<TokenDraft>,
) -> Result<(StatusCode, Json<NewToken>), ApiError> {
    Ok((StatusCode::CREATED, Json(make(&edge, &person, draft)?)))
}

/// `DELETE /api/v1/tokens/{id}`.
pub(super) async fn revoke(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(token): Id<TokenId>,
) -> Result<StatusCode, ApiError> {
    end(&edge, &person, token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a token for the person's workspace.
pub(crate) fn make(edge: &Edge, person: &Person, draft: TokenDraft) -> Result<NewToken, ApiError> {
    let name = draft.name.trim();
    if name.is_empty() || name.len() > 100 {
        return Err(ApiError::invalid("a token says who holds it, in 1 to 100 bytes"));
    }
    let days = draft.days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(ApiError::invalid("a token is good for 1 to 3650 days"));
    }
    let audience = match draft.purpose {
        Purpose::Runner => Audience::Runner,
        Purpose::Api => Audience::Api,
    };
    let (id, now) = (edge.token_id(), edge.now());
    let claims = Tokens::claims(audience, id, person.scope.workspace(), name, now, DAY * days);
    Ok(NewToken {
        id,
        purpose: draft.purpose,
        token: edge.tokens.issue(&claims)?,
        expires_at: UnixMillis(claims.exp.saturating_mul(1000)),
        name: claims.sub,
    })
}

/// Revokes a token of the person's workspace, whatever it is for.
pub(crate) async fn end(edge: &Edge, person: &Person, token: TokenId) -> Result<(), ApiError> {
    let now = edge.now();
    let spend = spent::spend(&person.scope, token, now, now + DAY * MOST_DAYS);
    person.scope.write(vec![spend]).await?;
    Ok(())
}
