//! Replaying a stored delivery: it is heard and routed again, by the set-up of today.
//!
//! Invariant: a delivery has one work item, and no agent takes a work item up twice. So a replay brings it only to agents that
//! have not had it, however often and from wherever at once it is asked for.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use roost_shared::{AgentId, DeliveryId, IntegrationId, RunId, UnixMillis, WorkItemId};
use serde::{Deserialize, Serialize};

use super::{
    body,
    channel::{self, Heard, Request, Verdict},
    plan::{Lanes, Placed, Plan},
    receive::NOBODY,
    route::route,
};
use crate::{
    bells::Topic,
    config::{CONFIG_CHANGED, Config},
    db::{DbError, Scope, Value, ValueError},
    edge::Edge,
    error::ApiError,
    outbox, runs,
};

/// Deliveries replayed by one request.
const MOST: u32 = 200;
/// How often a replay is planned anew because something changed under it.
const ATTEMPTS: usize = 4;
/// The refusal when somebody else replayed it in between.
const DELIVERY_MOVED: &str = "delivery_moved";

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The runs that take it up now and did not before.
    pub runs: Vec<RunId>,
    /// Why there are none.
    pub reason: Option<String>,
}

/// Which deliveries to replay: of those that were ignored because no agent listened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Those of this integration; of all without.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// Those received then or later.
    pub from: UnixMillis,
    /// Those received before.
    #[serde(default)]
    pub until: Option<UnixMillis>,
    /// The answer before's `next`.
    #[serde(default)]
    pub cursor: Option<DeliveryId>,
}

/// A stored delivery, and who has had it.
struct Stored {
    integration: IntegrationId,
    headers: HeaderMap,
    body: bytes::Bytes,
    received_at: UnixMillis,
    work_item: Option<WorkItemId>,
    had_by: Vec<AgentId>,
}

/// Replays one delivery.
///
/// # Errors
/// 404, 403 `integration_disabled`, 410 `payload_removed`, or 400 when the body is no longer understood.
pub(crate) async fn replay(edge: &Arc<Edge>, scope: &Scope, id: DeliveryId) -> Result<Replayed, ApiError> {
    for _ in 0..ATTEMPTS {
        let config = edge.configs.reload(scope).await?;
        let stored = read(scope, id).await?;
        match attempt(edge, scope, &config, id, &stored).await {
            Err(DbError::Refused {
                code: CONFIG_CHANGED | DELIVERY_MOVED,
            }) => {}
            Ok(done) => return done,
            Err(error) => return Err(error.into()),
        }
    }
    Err(DbError::Unavailable("the workspace is being changed too often".into()).into())
}

/// Replays those of a span that were ignored because no agent listened, oldest first; and the cursor of those left over.
///
/// # Errors
/// When the database fails. What was replayed by then is; asking again does the rest.
pub(crate) async fn replay_span(
    edge: &Arc<Edge>,
    scope: &Scope,
    span: &Span,
) -> Result<(Vec<Replayed>, Option<DeliveryId>), ApiError> {
    let first = |at: UnixMillis| DeliveryId::new(at, [0; 10]);
    let rows = scope
        .query(
            "SELECT id FROM deliveries WHERE workspace_id = ?1 AND id >= ?2 AND (?3 IS NULL OR id < ?3) \
             AND (?4 IS NULL OR id > ?4) AND (?5 IS NULL OR integration_id = ?5) AND verdict = 'ignored' \
             AND reason = ?6 AND removed_after IS NULL ORDER BY id LIMIT ?7",
            [
                first(span.from).into(),
                span.until.map(first).into(),
                span.cursor.into(),
                span.integration.into(),
                NOBODY.into(),
                MOST.into(),
            ],
        )
        .await?;
    let mut done = Vec::new();
    for row in &rows {
        done.push(replay(edge, scope, row.parse(0)?).await?);
    }
    let full = u32::try_from(rows.len()).unwrap_or(MOST) == MOST;
    let next = done.last().filter(|_| full).map(|last| last.delivery);
    Ok((done, next))
}

async fn read(scope: &Scope, id: DeliveryId) -> Result<Stored, ApiError> {
    let results = scope
        .read(vec![
            scope.sql(
                "SELECT d.integration_id, d.headers, d.body, d.received_at, (SELECT w.id FROM work_items w WHERE w.id \
                 BETWEEN substr(d.id, 1, 10) || '0000000000000000' AND substr(d.id, 1, 10) || 'ZZZZZZZZZZZZZZZZ' \
                 AND w.delivery_id = d.id), d.removed_after FROM deliveries d WHERE d.workspace_id = ?1 AND d.id = ?2",
                [id.into()],
            ),
            scope.sql(
                "WITH item AS (SELECT w.id FROM work_items w WHERE w.workspace_id = ?1 AND w.id \
                 BETWEEN substr(?2, 1, 10) || '0000000000000000' AND substr(?2, 1, 10) || 'ZZZZZZZZZZZZZZZZ' \
                 AND w.delivery_id = ?2) \
                 SELECT r.agent_id FROM item JOIN runs r ON r.work_item_id = item.id \
                 UNION SELECT r.agent_id FROM item JOIN joined j ON j.work_item_id = item.id \
                 JOIN runs r ON r.id = j.run_id",
                [id.into()],
            ),
        ])
        .await?;
    let [deliveries, agents] = results.as_slice() else {
        return Err(DbError::Sql("the database answered with too few results".into()).into());
    };
    let row = deliveries
        .first()
        .ok_or_else(|| ApiError::not_found("delivery"))?;
    if let Some(days) = row.optional_integer(5)? {
        return Err(removed(days));
    }
    let body = body::unpack(&row.blob(2)?).ok_or(ValueError {
        column: 2,
        expected: "a packed body",
    })?;
    let work_item = row.optional_text(4)?.map(|_| row.parse(4)).transpose()?;
    Ok(Stored {
        integration: row.parse(0)?,
        headers: headers(row.json(1)?),
        body: body.into(),
        received_at: UnixMillis(row.integer(3)?),
        work_item,
        had_by: agents.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?,
    })
}

fn removed(days: i64) -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        "payload_removed",
        format!(
            "the delivery's payload was removed after {days} days, so it can't be replayed; see keep_payloads_days"
        ),
    )
}

fn headers(stored: std::collections::BTreeMap<String, String>) -> HeaderMap {
    let pairs = stored.into_iter().filter_map(|(name, value)| {
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        ))
    });
    pairs.collect()
}

/// One try; the outer error is the database's, to be tried again or told.
async fn attempt(
    edge: &Arc<Edge>,
    scope: &Scope,
    config: &Config,
    id: DeliveryId,
    stored: &Stored,
) -> Result<Result<Replayed, ApiError>, DbError> {
    let nothing = |reason: String| {
        Ok(Ok(Replayed {
            delivery: id,
            runs: Vec::new(),
            reason: Some(reason),
        }))
    };
    let Some(integration) = config.by_id(stored.integration) else {
        return Ok(Err(ApiError::not_found("integration")));
    };
    let integration = &integration.integration;
    if !integration.enabled {
        let message = format!(
            "the integration {} is disabled; enable it first",
            integration.name
        );
        return Ok(Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "integration_disabled",
            message,
        )));
    }
    let request = Request {
        headers: &stored.headers,
        body: &stored.body,
        now: stored.received_at,
    };
    let heard: Box<Heard> = match channel::normalise(&integration.settings, request) {
        Ok(Verdict::Heard(heard)) => heard,
        Ok(Verdict::Ignored(reason)) => return nothing(reason),
        Ok(Verdict::Changed(..)) => {
            return nothing("that a message was changed is taken in only when it comes".to_owned());
        }
        Err(rejection) => return Ok(Err(rejection.into())),
    };
    let listening = route(config, integration, &heard);
    let agents: Vec<_> = listening
        .iter()
        .copied()
        .filter(|agent| !stored.had_by.contains(&agent.id))
        .collect();
    if listening.is_empty() {
        return nothing(NOBODY.to_owned());
    }
    if agents.is_empty() {
        return nothing("every agent that listens has had it".to_owned());
    }
    let plan = Plan {
        edge,
        scope,
        config,
        integration,
        delivery: id,
        now: edge.now(),
    };
    let mut item = plan.item(*heard);
    // Its id begins like the delivery's, by which it is found.
    item.id = stored
        .work_item
        .unwrap_or_else(|| WorkItemId::new(stored.received_at, edge.entropy()));
    item.received_at = stored.received_at;
    let names: Vec<AgentId> = agents.iter().map(|agent| agent.id).collect();
    let mut batch = vec![
        config.guard(scope),
        // Nobody has brought it to one of these since it was read, nor made it a work item.
        scope.guard(
            DELIVERY_MOVED,
            "SELECT 1 FROM deliveries d WHERE d.workspace_id = ?1 AND d.id = ?2 AND (?3 IS NOT NULL OR d.verdict = 'ignored') \
             AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.work_item_id = ?3 \
             AND r.agent_id IN (SELECT value FROM json_each(?4))) \
             AND NOT EXISTS (SELECT 1 FROM joined j JOIN runs r ON r.id = j.run_id WHERE j.work_item_id = ?3 \
             AND r.agent_id IN (SELECT value FROM json_each(?4)))",
            [
                id.into(),
                stored.work_item.into(),
                Value::Text(serde_json::to_string(&names).unwrap_or_default()),
            ],
        ),
        scope.sql(
            "UPDATE deliveries SET verdict = 'accepted', reason = NULL WHERE workspace_id = ?1 AND id = ?2",
            [id.into()],
        ),
    ];
    let work = match stored.work_item {
        None => plan.work(&item, &agents, Lanes::Open),
        Some(_) => plan.place(Vec::new(), &item, &agents, Lanes::Open),
    };
    let work = match work {
        Ok(work) => work,
        Err(error) => return Ok(Err(error)),
    };
    let from = batch.len();
    batch.extend(work.batch);
    let results = scope.write(batch).await?;
    let taken = Placed::taken(&work.placed, results.get(from..).unwrap_or_default())?;
    if !taken.joined.is_empty() {
        edge.bells
            .ring(&Topic::Signals(scope.workspace().into()), usize::MAX);
    }
    let runs = [taken.begun, taken.joined].concat();
    runs::bell::announce(edge, scope, &runs);
    outbox::send_soon(edge, scope);
    Ok(Ok(Replayed {
        delivery: id,
        runs,
        reason: None,
    }))
}
