//! Names that are no longer good before their time: revoked tokens, login codes that have been used, withdrawn polls.

use roost_shared::UnixMillis;

use crate::db::{Scope, Statement, Value};

/// The refusal of a token that has been revoked.
pub const TOKEN_REVOKED: &str = "token_revoked";

/// Holds a batch back, with `code`, when the token or poll is spent.
pub(crate) fn not_spent(scope: &Scope, code: &'static str, name: impl Into<Value>) -> Statement {
    scope.guard(
        code,
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM spent_tokens WHERE workspace_id = ?1 AND id = ?2)",
        [name.into()],
    )
}

/// Ends a token or poll. The row is kept until `expires`, when it would no longer be good anyway.
pub(crate) fn spend(
    scope: &Scope,
    name: impl Into<Value>,
    now: UnixMillis,
    expires: UnixMillis,
) -> Statement {
    scope.sql(
        "INSERT INTO spent_tokens (workspace_id, id, spent_at, expires_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO NOTHING",
        [name.into(), now.into(), expires.into()],
    )
}
