//! Effects: what became, or is to become, visible outside; and what a person decides about those that did not.

use std::sync::Arc;

use axum::{Json, extract::State};
use roost_shared::{EffectId, IntegrationId, RunId, UnixMillis, effect::Effect};
use serde::{Deserialize, Serialize};

use super::{
    extract::{Body, Id, Params},
    page::{Page, Position},
};
use crate::{
    auth::session::Person,
    db::{Row, Scope, Statement, ValueError},
    edge::Edge,
    error::ApiError,
    outbox::{
        self,
        decide::{self, Replay, Verdict},
    },
};

/// The states of an effect.
pub(crate) const STATES: [&str; 5] = ["pending", "sending", "sent", "failed", "unknown"];

/// Which effects.
#[derive(Debug, Default, Deserialize)]
pub struct Query {
    /// Only this run's.
    #[serde(default)]
    pub run: Option<RunId>,
    /// Only those in this state.
    #[serde(default)]
    pub state: Option<String>,
    /// Only this integration's.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
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

/// How many effects a request changed.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Effects that are sent again; when it is 5,000 there may be more: ask again.
    pub replayed: u64,
}

macro_rules! select_effects {
    ($tail:literal) => {
        select_effects!("WHERE workspace_id = ?1 ", $tail)
    };
    ($where:literal, $($tail:literal),+) => {
        concat!(
            "SELECT id, integration_id, run_id, effect, state, attempts, due_at, external_id, code, reason, created_at, ",
            "updated_at FROM effects ",
            $where,
            $($tail),+
        )
    };
}

macro_rules! page_of_effects {
    ($where:literal, $of:literal) => {
        select_effects!(
            $where,
            " AND (?2 IS NULL OR id < ?2) ",
            $of,
            " AND (?5 IS NULL OR integration_id = ?5) ORDER BY id DESC LIMIT ?6"
        )
    };
}

/// `GET /api/v1/effects`.
pub(super) async fn list(
    person: Person,
    Params(query): Params<Query>,
) -> Result<Json<Page<EffectView, EffectId>>, ApiError> {
    Ok(Json(page(&person, &query).await?))
}

/// `GET /api/v1/effects/{id}`.
pub(super) async fn show(person: Person, Id(effect): Id<EffectId>) -> Result<Json<EffectView>, ApiError> {
    Ok(Json(one(&person, effect).await?))
}

/// `POST /api/v1/effects/{id}/replay`.
pub(super) async fn replay_one(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(effect): Id<EffectId>,
) -> Result<Json<EffectView>, ApiError> {
    decide::replay_one(&edge, &person.scope, effect, person.name()).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(Json(one(&person, effect).await?))
}

/// `POST /api/v1/effects/replay`.
pub(super) async fn replay(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Body(which): Body<Replay>,
) -> Result<Json<Replayed>, ApiError> {
    let replayed = decide::replay(&edge, &person.scope, &which, person.name()).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(Json(Replayed { replayed }))
}

/// `POST /api/v1/effects/{id}/arrived`.
pub(super) async fn arrived(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(effect): Id<EffectId>,
) -> Result<Json<EffectView>, ApiError> {
    decide::decide(&edge, &person.scope, effect, Verdict::Arrived, person.name()).await?;
    Ok(Json(one(&person, effect).await?))
}

/// `POST /api/v1/effects/{id}/drop`.
pub(super) async fn drop(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(effect): Id<EffectId>,
) -> Result<Json<EffectView>, ApiError> {
    decide::decide(&edge, &person.scope, effect, Verdict::Dropped, person.name()).await?;
    Ok(Json(one(&person, effect).await?))
}

/// A page of effects, newest first.
pub(crate) async fn page(person: &Person, query: &Query) -> Result<Page<EffectView, EffectId>, ApiError> {
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
    // A run's effects are few, and so are those that ended badly or are still to be sent. All others are walked from the newest.
    let sql = match (query.run, query.state.as_deref()) {
        (Some(_), _) => page_of_effects!(
            "INDEXED BY effects_run WHERE workspace_id = ?1",
            "AND run_id = ?3 AND (?4 IS NULL OR state = ?4)"
        ),
        (None, Some("failed" | "unknown")) => page_of_effects!(
            "INDEXED BY effects_dead WHERE workspace_id = ?1",
            "AND state = ?4 AND state IN ('failed', 'unknown')"
        ),
        (None, Some("pending" | "sending")) => page_of_effects!(
            "INDEXED BY effects_due WHERE workspace_id = ?1",
            "AND state = ?4 AND due_at IS NOT NULL"
        ),
        (None, _) => page_of_effects!("WHERE +workspace_id = ?1", "AND (?4 IS NULL OR state = ?4)"),
    };
    let arguments = [
        position.cursor.into(),
        query.run.into(),
        query.state.clone().into(),
        query.integration.into(),
        position.rows_to_read().into(),
    ];
    let rows = person.scope.query(sql, arguments).await?;
    let effects = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(position.page(effects, |effect: &EffectView| effect.id))
}

/// One effect.
pub(crate) async fn one(person: &Person, effect: EffectId) -> Result<EffectView, ApiError> {
    let rows = person
        .scope
        .query(select_effects!("AND id = ?2"), [effect.into()])
        .await?;
    let row = rows.first().ok_or_else(|| ApiError::not_found("effect"))?;
    Ok(view(row)?)
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
