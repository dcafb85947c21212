//! Effects: what became, or is to become, visible outside.

use axum::Json;
use roost_shared::{EffectId, IntegrationId, RunId, UnixMillis, effect::Effect};
use serde::{Deserialize, Serialize};

use super::{
    extract::Params,
    page::{Page, Position},
};
use crate::{
    auth::session::Person,
    db::{Row, Scope, Statement, ValueError},
    error::ApiError,
};

/// The states of an effect.
const STATES: [&str; 5] = ["pending", "sending", "sent", "failed", "unknown"];

/// Which effects.
#[derive(Debug, Deserialize)]
pub struct Query {
    /// Only this run's.
    #[serde(default)]
    pub run: Option<RunId>,
    /// Only those in this state.
    #[serde(default)]
    pub state: Option<String>,
    /// The page before's `next`.
    #[serde(default)]
    pub cursor: Option<EffectId>,
    /// Effects of a page, 1 to 200; 50 without.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectView {
    /// Its id.
    pub id: EffectId,
    /// The integration it goes out by.
    pub integration: IntegrationId,
    /// The run it follows from, if it follows from one.
    pub run: Option<RunId>,
    /// What is to happen, and where.
    pub effect: Effect,
    /// `pending`, `sending`, `sent`, `failed` or `unknown`.
    pub state: String,
    /// Nobody knows whether it arrived, and only a person can tell.
    pub waits_for_person: bool,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next, or given up.
    pub due_at: Option<UnixMillis>,
    /// The channel's own id of what was made.
    pub external_id: Option<String>,
    /// Why it failed.
    pub code: Option<String>,
    /// The same in a sentence; also why it will be tried again.
    pub reason: Option<String>,
    /// When it was queued.
    pub created_at: UnixMillis,
    /// When it last changed.
    pub updated_at: UnixMillis,
}

macro_rules! select_effects {
    ($tail:literal) => {
        concat!(
            "SELECT id, integration_id, run_id, effect, state, attempts, due_at, external_id, code, reason, created_at, ",
            "updated_at FROM effects WHERE workspace_id = ?1 ",
            $tail
        )
    };
}

/// `GET /api/v1/effects`.
pub(super) async fn list(
    person: Person,
    Params(query): Params<Query>,
) -> Result<Json<Page<EffectView, EffectId>>, ApiError> {
    if let Some(state) = &query.state
        && !STATES.contains(&state.as_str())
    {
        let states = STATES.join(", ");
        return Err(ApiError::invalid(format!("a state is one of {states}")));
    }
    let position = Position {
        cursor: query.cursor,
        limit: query.limit,
    };
    let sql = select_effects!(
        "AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR run_id = ?3) AND (?4 IS NULL OR state = ?4) \
         ORDER BY id DESC LIMIT ?5"
    );
    let arguments = [
        position.cursor.into(),
        query.run.into(),
        query.state.into(),
        position.rows_to_read().into(),
    ];
    let rows = person.scope.query(sql, arguments).await?;
    let effects = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(position.page(effects, |effect: &EffectView| effect.id)))
}

/// A run's effects, in the order they go out.
pub(crate) fn of_run(scope: &Scope, run: RunId) -> Statement {
    scope.sql(select_effects!("AND run_id = ?2 ORDER BY id"), [run.into()])
}

/// The effect with this idempotency key.
pub(crate) fn by_key(scope: &Scope, key: String) -> Statement {
    scope.sql(select_effects!("AND idempotency_key = ?2"), [key.into()])
}

/// A row of the statements above.
pub(crate) fn view(row: &Row) -> Result<EffectView, ValueError> {
    let optional = |column| Ok(row.optional_text(column)?.map(str::to_owned));
    let run = row.optional_text(2)?.map(|_| row.parse(2)).transpose()?;
    let state = row.text(4)?.to_owned();
    let due_at = row.optional_integer(6)?.map(UnixMillis);
    Ok(EffectView {
        id: row.parse(0)?,
        integration: row.parse(1)?,
        run,
        effect: row.json(3)?,
        waits_for_person: state == "unknown" && due_at.is_none(),
        state,
        attempts: row.unsigned(5)?,
        due_at,
        external_id: optional(7)?,
        code: optional(8)?,
        reason: optional(9)?,
        created_at: UnixMillis(row.integer(10)?),
        updated_at: UnixMillis(row.integer(11)?),
    })
}
