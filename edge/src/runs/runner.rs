//! Who asks: a runner, known by its token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{
    auth::{
        bearer,
        spent::{self, TOKEN_REVOKED},
        token::{Audience, Claims},
    },
    db::{Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// A runner with a good token.
pub(super) struct Runner {
    pub(super) claims: Claims,
    pub(super) scope: Scope,
}

impl Runner {
    /// Holds a batch back when the token has been revoked. Part of every batch, so that it costs no round trip.
    pub(super) fn guard(&self) -> Statement {
        spent::not_spent(&self.scope, TOKEN_REVOKED, self.claims.jti)
    }
}

impl FromRequestParts<Arc<Edge>> for Runner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(|| {
            ApiError::unauthorized(
                "a runner sends its token as `Authorization: Bearer …`; make one with `roost token`",
            )
        })?;
        let claims = edge.tokens.check(Audience::Runner, token, edge.now())?;
        let scope = edge.scope(&claims.workspace);
        Ok(Self { claims, scope })
    }
}
