//! Appending to a journal: the one way a runner changes anything.
//!
//! The events, the run's new phase, its bill and the effects that follow are one batch, fenced by runner, epoch and
//! expected seq. A reply is queued in the very transaction that completes the run.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use roost_shared::{
    EffectId, MicroUsd, RunId, SignalId, UnixMillis,
    effect::Effect,
    event::EventBody,
    fail_point::{self, FailPoint},
    run::{Phase, Waits},
    wire::{AppendRequest, AppendResponse},
    work::WorkItem,
};
use serde::Deserialize;

use super::{bell, journal, runner::Runner, signal};
use crate::{
    bells::Topic,
    db::{DbError, Scope, Statement},
    edge::Edge,
    error::ApiError,
    outbox::{self, queue::Queued, split},
};

/// Events in one request.
const MAX_EVENTS: usize = 256;
/// The refusal when the lease is no longer the run's, or its journal is elsewhere.
const STALE: &str = "stale_lease";

/// `POST /runner/v1/runs/{run}/events`.
pub(super) async fn append(
    State(edge): State<Arc<Edge>>,
    runner: Runner,
    Path(run): Path<RunId>,
    Json(request): Json<AppendRequest>,
) -> Result<Json<AppendResponse>, ApiError> {
    if request.events.is_empty() || request.events.len() > MAX_EVENTS {
        return Err(ApiError::invalid("an append carries 1 to 256 events"));
    }
    let phase = phase_after(&request.events)?;
    let next_seq = request.expected_seq + u64::try_from(request.events.len()).unwrap_or(u64::MAX);
    let now = edge.now();
    let scope = &runner.scope;

    let mut batch = vec![runner.guard(), fence(scope, run, &runner, &request)];
    let taken_in: Vec<SignalId> = request.events.iter().filter_map(EventBody::signal).collect();
    if !taken_in.is_empty() {
        batch.extend(signal::take_in(scope, run, &taken_in));
    }
    let posts = posted(&request.events);
    if matches!(
        request.events.last(),
        Some(EventBody::Completed { .. } | EventBody::Asked { .. })
    ) {
        batch.push(signal::all_heard(scope, run));
    }
    let pauses = matches!(request.events.last(), Some(EventBody::Paused { .. }));
    if pauses {
        batch.push(signal::pause_stands(scope, run));
    }
    let signals_at = batch.len();
    batch.push(signal::of_run(scope, run));
    for (seq, event) in (request.expected_seq..).zip(&request.events) {
        batch.push(journal::insert(scope, run, seq, request.epoch, now, event));
    }
    batch.extend(project(scope, run, phase, &request, next_seq, now));
    if pauses {
        batch.push(signal::forget_pauses(scope, run));
    }
    if phase.is_terminal() {
        batch.extend(signal::hand_on(&edge, scope, run, phase, now));
    }
    if let Some(post) = &posts {
        batch.extend(replies(&edge, scope, run, post, next_seq, now).await?);
    }

    fail_point::reach(FailPoint::AppendArrived);
    let signals = match scope.write(batch).await {
        Ok(results) => signal::from_rows(results.get(signals_at).map_or(&[], Vec::as_slice))?,
        Err(DbError::Refused { code: STALE }) => return repeated(scope, run, &request, next_seq).await,
        Err(DbError::Refused {
            code: signal::UNHEARD,
        }) => return unheard(scope, run, &request).await,
        Err(DbError::Refused {
            code: signal::WITHDRAWN,
        }) => return Err(withdrawn()),
        Err(error) => return Err(error.into()),
    };
    fail_point::reach(FailPoint::AppendStored);
    if phase.is_terminal() {
        fail_point::reach(FailPoint::EndStored);
    }
    edge.bells.ring(&Topic::Journal(run), usize::MAX);
    if phase != Phase::Running {
        // The lane is free, or the run is: whoever waits there may go on.
        bell::announce(&edge, scope, &[run]);
    }
    if posts.is_some() {
        outbox::send_soon(&edge, scope);
    }
    Ok(Json(AppendResponse { next_seq, signals }))
}

/// The phase the events lead to from `running`.
fn phase_after(events: &[EventBody]) -> Result<Phase, ApiError> {
    let illegal = |message: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "illegal_event", message);
    events.iter().try_fold(Phase::Running, |phase, event| {
        if matches!(
            event,
            EventBody::Leased { .. } | EventBody::Poisoned { .. } | EventBody::Resumed { .. }
        ) {
            let kind = event.kind();
            return Err(illegal(format!("only the edge writes `{kind}` events")));
        }
        phase.after(event).map_err(|error| illegal(error.to_string()))
    })
}

fn fence(scope: &Scope, run: RunId, runner: &Runner, request: &AppendRequest) -> Statement {
    scope.guard(
        STALE,
        "SELECT 1 FROM runs r JOIN runners n ON n.workspace_id = r.workspace_id AND n.name = r.runner \
         WHERE r.workspace_id = ?1 AND r.id = ?2 AND r.epoch = ?3 AND r.next_seq = ?4 AND r.phase = 'running' \
         AND n.token_id = ?5",
        [run.into(), request.epoch.into(), request.expected_seq.into(), runner.claims.jti.into()],
    )
}

/// The run's row, brought up to its journal. While the run goes on, no column is set that an index knows: SQLite writes the
/// pages of an index whose column is set, even to what it was.
fn project(
    scope: &Scope,
    run: RunId,
    phase: Phase,
    request: &AppendRequest,
    next_seq: u64,
    now: UnixMillis,
) -> Vec<Statement> {
    let turns = request
        .events
        .iter()
        .filter(|event| matches!(event, EventBody::ModelAnswered(_)))
        .count();
    let cost: MicroUsd = request.events.iter().map(EventBody::cost).sum();
    let tokens: u64 = request
        .events
        .iter()
        .map(EventBody::usage)
        .map(|usage| usage.context() + usage.output)
        .sum();
    let mut statements = vec![scope.sql(
        "UPDATE runs SET next_seq = ?3, turns = turns + ?4, cost = cost + ?5, tokens = tokens + ?6, updated_at = ?7 \
         WHERE workspace_id = ?1 AND id = ?2",
        [
            run.into(),
            next_seq.into(),
            u64::try_from(turns).unwrap_or(u64::MAX).into(),
            cost.into(),
            tokens.into(),
            now.into(),
        ],
    )];
    if request.events.iter().any(EventBody::is_progress) {
        statements.push(scope.sql(
            "UPDATE runs SET crashes = 0 WHERE workspace_id = ?1 AND id = ?2 AND crashes > 0",
            [run.into()],
        ));
    }
    if phase != Phase::Running {
        statements.push(rest(scope, run, phase, request.events.last(), now));
    }
    statements
}

/// The run's row when it goes on no longer: it has ended, sleeps, waits or was given back.
fn rest(scope: &Scope, run: RunId, phase: Phase, last: Option<&EventBody>, now: UnixMillis) -> Statement {
    let outcome = match last {
        Some(EventBody::Completed { reply }) => reply.clone(),
        Some(EventBody::Failed { code, .. }) => Some(code.clone()),
        _ => None,
    };
    let due_at = match last {
        Some(
            EventBody::Parked { until, .. }
            | EventBody::Paused { until, .. }
            | EventBody::Asked { until, .. },
        ) => Some(*until),
        Some(EventBody::Released { .. }) => Some(now),
        _ => None,
    };
    scope.sql(
        "UPDATE runs SET phase = ?3, outcome = ?4, due_at = ?5, waits = ?6, lease_id = NULL \
         WHERE workspace_id = ?1 AND id = ?2",
        [
            run.into(),
            phase.as_str().into(),
            outcome.into(),
            due_at.into(),
            last.and_then(Waits::after)
                .map(|waits| waits.as_str().to_owned())
                .into(),
        ],
    )
}

/// What the events say in the conversation.
enum Post {
    Reply(String),
    Question(String),
}

fn posted(events: &[EventBody]) -> Option<Post> {
    match events.last() {
        Some(EventBody::Completed { reply: Some(text) }) if !text.trim().is_empty() => {
            Some(Post::Reply(text.clone()))
        }
        Some(EventBody::Asked { question, .. }) => Some(Post::Question(question.posted())),
        _ => None,
    }
}

/// A post as effects, one per message of the channel.
async fn replies(
    edge: &Edge,
    scope: &Scope,
    run: RunId,
    post: &Post,
    next_seq: u64,
    now: UnixMillis,
) -> Result<Vec<Statement>, ApiError> {
    #[derive(Deserialize)]
    struct Opened {
        work_item: WorkItem,
    }
    // Event 0 never changes, so it may be read before the batch that leans on it.
    let rows = scope
        .query(
            "SELECT body FROM events WHERE workspace_id = ?1 AND run_id = ?2 AND seq = 0",
            [run.into()],
        )
        .await?;
    let opened: Opened = rows.first().ok_or_else(|| ApiError::not_found("run"))?.json(0)?;
    let WorkItem {
        integration,
        reply_to,
        ..
    } = opened.work_item;
    // A run replies once, and may ask more than once.
    let (text, key) = match post {
        Post::Reply(text) => (text, format!("{run}/reply")),
        Post::Question(text) => (text, format!("{run}/question/{next_seq}")),
    };
    let mut statements = Vec::new();
    for (part, text) in (0u16..).zip(split::split(&reply_to, text)) {
        // The parts are made in the same millisecond and go out in the order of their ids.
        let mut entropy = edge.entropy();
        entropy[..2].copy_from_slice(&part.to_be_bytes());
        let queued = Queued {
            id: EffectId::new(now, entropy),
            integration,
            run: Some(run),
            stream: format!("run/{run}"),
            idempotency_key: format!("{key}/{part}"),
            effect: Effect::Reply {
                to: reply_to.clone(),
                text,
            },
        };
        statements.push(queued.insert(scope, now)?);
    }
    Ok(statements)
}

/// Answers an append that would have ended the run, or made it ask, with the message that came before it.
async fn unheard(
    scope: &Scope,
    run: RunId,
    request: &AppendRequest,
) -> Result<Json<AppendResponse>, ApiError> {
    let results = scope.read(vec![signal::of_run(scope, run)]).await?;
    Ok(Json(AppendResponse {
        next_seq: request.expected_seq,
        signals: signal::from_rows(results.first().map_or(&[], Vec::as_slice))?,
    }))
}

fn withdrawn() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        signal::WITHDRAWN,
        "what the run takes in was deleted before it got there; leave it out and append the rest",
    )
}

/// Answers an append whose fence did not hold: as the first time, if it is the same append come twice.
async fn repeated(
    scope: &Scope,
    run: RunId,
    request: &AppendRequest,
    next_seq: u64,
) -> Result<Json<AppendResponse>, ApiError> {
    let stored = journal::page(scope, run, request.expected_seq).await?;
    let same = stored.len() >= request.events.len()
        && stored
            .iter()
            .zip(&request.events)
            .all(|(event, sent)| event.epoch == request.epoch && event.body == *sent);
    if same {
        Ok(Json(AppendResponse {
            next_seq,
            signals: Vec::new(),
        }))
    } else {
        Err(ApiError::stale_lease())
    }
}
