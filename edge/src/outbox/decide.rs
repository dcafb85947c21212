//! What a person decides about effects: it arrived, drop it, send it again; one, or a range.
//!
//! Invariant: an effect that is sent again keeps its id and its idempotency key, and is never one that is on its way or
//! still being looked for.

use http::StatusCode;
use roost_shared::{EffectId, IntegrationId, UnixMillis};
use serde::Deserialize;

use crate::{
    db::{DbError, Scope, Value},
    edge::Edge,
    error::ApiError,
};

/// Effects named in one request, and sent again by one.
const MOST_NAMED: usize = 500;
const MOST: u32 = 5_000;
/// The refusal when an effect is not in a state that allows what is asked.
const EFFECT_MOVED: &str = "effect_moved";
/// Why an effect will not be sent: a person said so.
const DROPPED: &str = "dropped";

/// What a person knows of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in the channel.
    Arrived,
    /// It is not to be sent any more.
    Dropped,
}

/// Which effects to send again. At least one of its fields narrows it down.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// These, at most 500.
    #[serde(default)]
    pub ids: Option<Vec<EffectId>>,
    /// Those of this integration.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// Those queued then or later.
    #[serde(default)]
    pub from: Option<UnixMillis>,
    /// Those queued before.
    #[serde(default)]
    pub until: Option<UnixMillis>,
    /// Also those of which nobody knows whether they arrived, `["failed", "unknown"]`; only the failed ones without.
    #[serde(default)]
    pub states: Option<Vec<String>>,
}

/// Writes down what a person knows.
///
/// # Errors
/// 404, or 409 `effect_moved`.
pub(crate) async fn decide(
    edge: &Edge,
    scope: &Scope,
    effect: EffectId,
    verdict: Verdict,
    by: &str,
) -> Result<(), ApiError> {
    let (state, code, reason, from) = match verdict {
        Verdict::Arrived => (
            "sent",
            None,
            format!("{by} says that it arrived"),
            r#"["unknown"]"#,
        ),
        Verdict::Dropped => (
            "failed",
            Some(DROPPED),
            format!("{by} dropped it"),
            r#"["unknown", "pending"]"#,
        ),
    };
    let batch = vec![scope.sql(
        "UPDATE effects SET state = ?3, code = ?4, reason = ?5, due_at = NULL, updated_at = ?6 \
         WHERE workspace_id = ?1 AND id = ?2 AND state IN (SELECT value FROM json_each(?7)) RETURNING id",
        [
            effect.into(),
            state.into(),
            code.into(),
            reason.into(),
            edge.now().into(),
            from.into(),
        ],
    )];
    let changed = scope.write(batch).await?;
    if changed.first().is_some_and(|rows| !rows.is_empty()) {
        return Ok(());
    }
    Err(refusal(scope, effect).await?)
}

/// Sends one effect again that failed, or that only a person can tell of.
///
/// # Errors
/// 404, or 409 `effect_moved`.
pub(crate) async fn replay_one(
    edge: &Edge,
    scope: &Scope,
    effect: EffectId,
    by: &str,
) -> Result<(), ApiError> {
    let which = Replay {
        ids: Some(vec![effect]),
        states: Some(vec!["failed".into(), "unknown".into()]),
        ..Replay::default()
    };
    match replay(edge, scope, &which, by).await? {
        0 => Err(refusal(scope, effect).await?),
        _ => Ok(()),
    }
}

/// Sends effects again; how many.
///
/// # Errors
/// 400 when nothing narrows it down.
pub(crate) async fn replay(edge: &Edge, scope: &Scope, which: &Replay, by: &str) -> Result<u64, ApiError> {
    let named = which.ids.as_ref().map_or(0, Vec::len);
    if which.ids.is_none() && which.integration.is_none() && which.from.is_none() {
        return Err(ApiError::invalid(
            "say which: by `ids`, by `integration`, or by the time they were queued, `from`",
        ));
    }
    if named > MOST_NAMED {
        return Err(ApiError::invalid("name at most 500 effects at once"));
    }
    let states = which.states.clone().unwrap_or_else(|| vec!["failed".into()]);
    if states
        .iter()
        .any(|state| !matches!(state.as_str(), "failed" | "unknown"))
    {
        return Err(ApiError::invalid(
            "only effects in state `failed` or `unknown` are sent again",
        ));
    }
    let list = |ids: &Vec<EffectId>| Value::Text(serde_json::to_string(ids).unwrap_or_default());
    let now = edge.now();
    let update = scope.sql(
        "UPDATE effects SET state = 'pending', due_at = ?2, replayed_after = attempts, looks = 0, missed = 0, \
         code = NULL, reason = ?3, updated_at = ?2 WHERE id IN (SELECT id FROM effects INDEXED BY effects_dead \
         WHERE workspace_id = ?1 AND state IN ('failed', 'unknown') AND due_at IS NULL \
         AND state IN (SELECT value FROM json_each(?4)) \
         AND (?5 IS NULL OR id IN (SELECT value FROM json_each(?5))) AND (?6 IS NULL OR integration_id = ?6) \
         AND (?7 IS NULL OR created_at >= ?7) AND (?8 IS NULL OR created_at < ?8) \
         AND (?5 IS NOT NULL OR effect ->> '$.type' <> 'acknowledge') ORDER BY id LIMIT ?9) RETURNING id",
        [
            now.into(),
            format!("{by} has it sent again").into(),
            serde_json::to_string(&states).unwrap_or_default().into(),
            which.ids.as_ref().map(list).unwrap_or(Value::Null),
            which.integration.into(),
            which.from.into(),
            which.until.into(),
            MOST.into(),
        ],
    );
    let results = scope.write(vec![update]).await?;
    Ok(results.first().map_or(0, |rows| rows.len() as u64))
}

/// Why nothing was done with it.
async fn refusal(scope: &Scope, effect: EffectId) -> Result<ApiError, DbError> {
    let rows = scope
        .query(
            "SELECT state FROM effects WHERE workspace_id = ?1 AND id = ?2",
            [effect.into()],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(ApiError::not_found("effect"));
    };
    let message = match row.text(0)? {
        "unknown" => "it is still being looked for in the channel; try again in a minute".to_owned(),
        state => format!("it is {state}, so there is nothing to decide"),
    };
    Ok(ApiError::new(StatusCode::CONFLICT, EFFECT_MOVED, message))
}
