//! Deliveries: every webhook request that was stored, and what became of it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use base64::{Engine, engine::general_purpose::STANDARD};
use roost_shared::{DeliveryId, IntegrationId, RunId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{
    effects::{self, EffectView},
    extract::{Body, Id, Params},
    page::{Page, Position},
    runs::IntegrationRef,
};
use crate::{
    auth::session::Person,
    db::{DbError, Row, ValueError},
    edge::Edge,
    error::ApiError,
    ingress::{
        body,
        replay::{self, Replayed, Span},
    },
};

/// Which deliveries.
#[derive(Debug, Default, Deserialize)]
pub struct Query {
    /// Only `accepted` or only `ignored` ones.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Only this integration's.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// The page before's `next`.
    #[serde(default)]
    pub cursor: Option<DeliveryId>,
    /// Deliveries of a page, 1 to 200; 50 without.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A delivery as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The integration it came in by.
    pub integration: IntegrationRef,
    /// `accepted` or `ignored`.
    pub verdict: String,
    /// What it was, in the channel's own words; only for accepted ones.
    pub event: Option<String>,
    /// Why it was ignored.
    pub reason: Option<String>,
    /// The provider's own id of the event.
    pub dedupe_key: String,
    /// The body's length.
    pub bytes: u64,
    /// The runs that follow from it, and those it joined.
    pub runs: Vec<RunId>,
    /// When it came.
    pub received_at: UnixMillis,
}

/// A delivery, whole.
#[derive(Debug, Serialize)]
pub struct DeliveryDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// Its headers; credentials are not kept.
    pub headers: BTreeMap<String, String>,
    /// Its raw body.
    pub body: RawBody,
    /// The sign of life that was sent for it, where the channel has one.
    pub acknowledgement: Option<EffectView>,
}

/// A raw body in JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawBody {
    /// It is UTF-8.
    Text(String),
    /// It is not.
    Base64(String),
    /// It was removed, with the headers, after so many days.
    RemovedAfterDays(u64),
}

// What follows from a delivery is written in its batch, at the same moment. So its work item's id begins with the same
// ten characters as its own: the moment. That finds it by its key.
macro_rules! select_deliveries {
    ($tail:literal) => {
        concat!(
            "SELECT d.id, i.id, i.name, i.settings ->> '$.channel', d.verdict, d.reason, d.dedupe_key, substr(d.body, 1, 4), ",
            "(SELECT json_group_array(t.id) FROM (SELECT r.id FROM work_items w JOIN runs r ON r.work_item_id = w.id ",
            "WHERE w.id BETWEEN substr(d.id, 1, 10) || '0000000000000000' AND substr(d.id, 1, 10) || 'ZZZZZZZZZZZZZZZZ' ",
            "AND w.delivery_id = d.id UNION ALL SELECT j.run_id FROM work_items w JOIN joined j ON j.work_item_id = w.id ",
            "WHERE w.id BETWEEN substr(d.id, 1, 10) || '0000000000000000' AND substr(d.id, 1, 10) || 'ZZZZZZZZZZZZZZZZ' ",
            "AND w.delivery_id = d.id) t), d.received_at, d.headers, ",
            "(SELECT w.kind FROM work_items w WHERE w.id BETWEEN substr(d.id, 1, 10) || '0000000000000000' ",
            "AND substr(d.id, 1, 10) || 'ZZZZZZZZZZZZZZZZ' AND w.delivery_id = d.id) ",
            "FROM deliveries d JOIN integrations i ON i.id = d.integration_id WHERE d.workspace_id = ?1 ",
            $tail
        )
    };
}

/// `GET /api/v1/deliveries`.
pub(super) async fn list(
    person: Person,
    Params(query): Params<Query>,
) -> Result<Json<Page<DeliveryView, DeliveryId>>, ApiError> {
    Ok(Json(page(&person, &query).await?))
}

/// `GET /api/v1/deliveries/{id}`.
pub(super) async fn show(
    person: Person,
    Id(delivery): Id<DeliveryId>,
) -> Result<Json<DeliveryDetail>, ApiError> {
    Ok(Json(detail(&person, delivery).await?))
}

/// `POST /api/v1/deliveries/{id}/replay`.
pub(super) async fn replay(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(delivery): Id<DeliveryId>,
) -> Result<Json<Replayed>, ApiError> {
    Ok(Json(replay::replay(&edge, &person.scope, delivery).await?))
}

/// `POST /api/v1/deliveries/replay`.
pub(super) async fn replay_span(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Body(span): Body<Span>,
) -> Result<Json<Page<Replayed, DeliveryId>>, ApiError> {
    let (items, next) = replay::replay_span(&edge, &person.scope, &span).await?;
    Ok(Json(Page { items, next }))
}

/// A page of deliveries, newest first.
pub(crate) async fn page(person: &Person, query: &Query) -> Result<Page<DeliveryView, DeliveryId>, ApiError> {
    if let Some(verdict) = query.verdict.as_deref()
        && !matches!(verdict, "accepted" | "ignored")
    {
        return Err(ApiError::invalid("a verdict is `accepted` or `ignored`"));
    }
    let position = Position {
        cursor: query.cursor,
        limit: query.limit,
    };
    let sql = select_deliveries!(
        "AND (?2 IS NULL OR d.id < ?2) AND (?3 IS NULL OR d.verdict = ?3) \
         AND (?4 IS NULL OR d.integration_id = ?4) ORDER BY d.id DESC LIMIT ?5"
    );
    let arguments = [
        position.cursor.into(),
        query.verdict.clone().into(),
        query.integration.into(),
        position.rows_to_read().into(),
    ];
    let rows = person.scope.query(sql, arguments).await?;
    let deliveries = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(position.page(deliveries, |delivery: &DeliveryView| delivery.id))
}

/// One delivery.
pub(crate) async fn detail(person: &Person, delivery: DeliveryId) -> Result<DeliveryDetail, ApiError> {
    let scope = &person.scope;
    let results = scope
        .read(vec![
            scope.sql(select_deliveries!("AND d.id = ?2"), [delivery.into()]),
            scope.sql(
                "SELECT body, removed_after FROM deliveries WHERE workspace_id = ?1 AND id = ?2",
                [delivery.into()],
            ),
            effects::by_key(scope, format!("{delivery}/ack")),
        ])
        .await?;
    let [deliveries, bodies, acknowledgements] = results.as_slice() else {
        return Err(DbError::Sql("the database answered with too few results".into()).into());
    };
    let (Some(row), Some(body)) = (deliveries.first(), bodies.first()) else {
        return Err(ApiError::not_found("delivery"));
    };
    Ok(DeliveryDetail {
        delivery: view(row)?,
        headers: row.json(10)?,
        body: raw(body)?,
        acknowledgement: acknowledgements.first().map(effects::view).transpose()?,
    })
}

fn raw(row: &Row) -> Result<RawBody, ValueError> {
    if row.optional_integer(1)?.is_some() {
        return Ok(RawBody::RemovedAfterDays(row.unsigned(1)?));
    }
    let body = body::unpack(&row.blob(0)?).ok_or(ValueError {
        column: 0,
        expected: "a packed body",
    })?;
    Ok(match String::from_utf8(body) {
        Ok(text) => RawBody::Text(text),
        Err(error) => RawBody::Base64(STANDARD.encode(error.as_bytes())),
    })
}

/// A packed body begins with its length.
fn length(row: &Row, column: usize) -> Result<u64, ValueError> {
    let damaged = |_| ValueError {
        column,
        expected: "the length of a packed body",
    };
    let bytes: [u8; 4] = row.blob(column)?.as_ref().try_into().map_err(damaged)?;
    Ok(u32::from_le_bytes(bytes).into())
}

fn view(row: &Row) -> Result<DeliveryView, ValueError> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok(DeliveryView {
        id: row.parse(0)?,
        integration: IntegrationRef {
            id: row.parse(1)?,
            name: text(2)?,
            channel: text(3)?,
        },
        verdict: text(4)?,
        event: row.optional_text(11)?.map(str::to_owned),
        reason: row.optional_text(5)?.map(str::to_owned),
        dedupe_key: text(6)?,
        bytes: length(row, 7)?,
        runs: row.json(8)?,
        received_at: UnixMillis(row.integer(9)?),
    })
}
