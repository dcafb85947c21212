//! Tokens that are no longer good before their time: revoked ones, and login codes that have been used.

use roost_shared::{TokenId, UnixMillis};

use crate::db::{Scope, Statement};

/// The refusal of a token that has been revoked.
pub const TOKEN_REVOKED: &str = "token_revoked";

/// Holds a batch back, with `code`, when the token is spent.
pub(crate) fn not_spent(scope: &Scope, code: &'static str, token: TokenId) -> Statement {
    scope.guard(
        code,
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM spent_tokens WHERE workspace_id = ?1 AND id = ?2)",
        [token.into()],
    )
}

/// Ends a token. The row is kept until `expires`, when the token would no longer be good anyway.
pub(crate) fn spend(scope: &Scope, token: TokenId, now: UnixMillis, expires: UnixMillis) -> Statement {
    scope.sql(
        "INSERT INTO spent_tokens (workspace_id, id, spent_at, expires_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO NOTHING",
        [token.into(), now.into(), expires.into()],
    )
}
