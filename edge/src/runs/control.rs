//! What people do to runs: cancel, pause, resume, answer.
//!
//! Invariant: the journal of a run that no runner drives is written here, in one batch that holds only if the run still
//! stands where it was seen; a run under way is told by a signal. Every run that waits for a person has a moment at which
//! it is given up.

use std::sync::Arc;

use http::StatusCode;
use roost_shared::{
    RunId, UnixMillis,
    event::EventBody,
    question::{Decision, PATIENCE},
    run::{Phase, Waits, fails_again},
    wire::SignalBody,
};

use super::{bell, journal, signal};
use crate::{
    bells::Topic,
    db::{DbError, Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// The refusal when a run is no longer where it was seen.
pub(crate) const MOVED: &str = "run_moved";
/// Looks at a run that moves between the look and the write.
const ATTEMPTS: usize = 8;

/// What was asked for has come to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Now,
    /// A runner drives the run; it has been told.
    Soon,
    /// The run had ended before.
    TooLate,
}

/// Where a run stands, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    pub(crate) phase: Phase,
    pub(crate) waits: Option<Waits>,
    pub(crate) next_seq: u64,
    pub(crate) epoch: u64,
}

/// Cancels a run, whatever it is doing. Messages it has not heard become a run after it.
///
/// # Errors
/// 404 when there is no such run, 503 when the database is away.
pub async fn cancel(edge: &Arc<Edge>, scope: &Scope, run: RunId, by: &str) -> Result<Outcome, ApiError> {
    let by = by.to_owned();
    change(edge, scope, run, |stand| {
        Ok(match stand.phase {
            Phase::Running => Step::Tell(SignalBody::Cancel { by: by.clone() }),
            _ => Step::Write(EventBody::Cancelled {
                by: by.clone(),
                reason: None,
            }),
        })
    })
    .await
}

/// Pauses a run: under way, it finishes its step first. It waits to be resumed for [`PATIENCE`], then it is cancelled.
///
/// # Errors
/// 404 when there is no such run, 503 when the database is away.
pub async fn pause(edge: &Arc<Edge>, scope: &Scope, run: RunId, by: &str) -> Result<Outcome, ApiError> {
    let (by, until) = (by.to_owned(), edge.now() + PATIENCE);
    change(edge, scope, run, |stand| {
        Ok(match (stand.phase, stand.waits) {
            (Phase::Running, _) => Step::Tell(SignalBody::Pause { by: by.clone() }),
            (Phase::Waiting, Some(Waits::Paused)) => Step::Leave(Outcome::Now),
            (Phase::Waiting, _) => {
                let message = "the run waits for a person already; it goes on only when somebody says so";
                return Err(ApiError::new(StatusCode::CONFLICT, "run_waits", message));
            }
            _ => Step::Write(EventBody::Paused {
                by: by.clone(),
                until,
            }),
        })
    })
    .await
}

/// Resumes a run that is paused or poisoned, wakes one that sleeps, lets one that failed try again, or takes back a pause its
/// runner has not come to yet.
///
/// # Errors
/// 404 when there is no such run, 409 `answer_wanted` when it asked a question, `run_not_waiting` when it waits for nobody,
/// `run_fails_again` when there is nothing to try.
pub async fn resume(edge: &Arc<Edge>, scope: &Scope, run: RunId, by: &str) -> Result<Outcome, ApiError> {
    let by = by.to_owned();
    let withdrawn = scope.write(vec![signal::forget_pauses(scope, run)]).await?;
    let was_told = withdrawn.first().is_some_and(|rows| !rows.is_empty());
    if let Some(code) = failure(scope, run).await?.filter(|code| fails_again(code)) {
        let message = format!("the run would end by {code} again: ask for the rest of its work anew");
        return Err(ApiError::new(StatusCode::CONFLICT, "run_fails_again", message));
    }
    change_any(edge, scope, run, |stand| match (stand.phase, stand.waits) {
        (Phase::Completed | Phase::Cancelled, _) => Ok(Step::Leave(Outcome::TooLate)),
        (Phase::Parked | Phase::Failed, _) | (_, Some(Waits::Paused | Waits::Poisoned)) => {
            Ok(Step::Write(EventBody::Resumed { by: by.clone() }))
        }
        (_, Some(Waits::Asked)) => {
            let message = "the run asked a question: answer it instead";
            Err(ApiError::new(StatusCode::CONFLICT, "answer_wanted", message))
        }
        (_, None) if was_told => Ok(Step::Leave(Outcome::Now)),
        (_, None) => {
            let message = "the run does not wait to be resumed";
            Err(ApiError::new(StatusCode::CONFLICT, "run_not_waiting", message))
        }
    })
    .await
}

/// Answers a run's question; it goes on at once.
///
/// # Errors
/// 404 when there is no such run, 409 `no_question` when it has none open.
pub async fn answer(
    edge: &Arc<Edge>,
    scope: &Scope,
    run: RunId,
    decision: Decision,
) -> Result<Outcome, ApiError> {
    change(edge, scope, run, |stand| match stand.waits {
        Some(Waits::Asked) => Ok(Step::Answer(decision.clone())),
        _ => {
            let message = "the run has no open question; perhaps somebody has answered it already";
            Err(ApiError::new(StatusCode::CONFLICT, "no_question", message))
        }
    })
    .await
}

/// One step of a person.
enum Step {
    Tell(SignalBody),
    Write(EventBody),
    Answer(Decision),
    /// There is nothing to do.
    Leave(Outcome),
}

/// Takes a step with a run that has not ended.
async fn change(
    edge: &Arc<Edge>,
    scope: &Scope,
    run: RunId,
    step: impl Fn(&Stand) -> Result<Step, ApiError>,
) -> Result<Outcome, ApiError> {
    change_any(edge, scope, run, |stand| match stand.phase.is_terminal() {
        true => Ok(Step::Leave(Outcome::TooLate)),
        false => step(stand),
    })
    .await
}

async fn change_any(
    edge: &Arc<Edge>,
    scope: &Scope,
    run: RunId,
    step: impl Fn(&Stand) -> Result<Step, ApiError>,
) -> Result<Outcome, ApiError> {
    for _ in 0..ATTEMPTS {
        let stand = look(scope, run).await?;
        let (batch, outcome) = match step(&stand)? {
            Step::Leave(outcome) => return Ok(outcome),
            Step::Tell(body) => (
                vec![still(scope, run, &stand), signal::send(edge, scope, run, &body)],
                Outcome::Soon,
            ),
            Step::Write(event) => (write(edge, scope, run, &stand, &event), Outcome::Now),
            Step::Answer(decision) => {
                let resumed = EventBody::Resumed {
                    by: decision.by.clone(),
                };
                let mut batch = write(edge, scope, run, &stand, &resumed);
                batch.push(signal::send(edge, scope, run, &SignalBody::Answer { decision }));
                (batch, Outcome::Now)
            }
        };
        match scope.write(batch).await {
            Ok(_) => {
                edge.bells
                    .ring(&Topic::Signals(scope.workspace().into()), usize::MAX);
                edge.bells.ring(&Topic::Journal(run), usize::MAX);
                // The run may be leased, or its lane is free.
                bell::announce(edge, scope, &[run]);
                return Ok(outcome);
            }
            Err(DbError::Refused { code: MOVED }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(DbError::Unavailable("the run changes too often".into()).into())
}

/// What a failed run failed by.
async fn failure(scope: &Scope, run: RunId) -> Result<Option<String>, ApiError> {
    let rows = scope
        .query(
            "SELECT outcome FROM runs WHERE workspace_id = ?1 AND id = ?2 AND phase = 'failed'",
            [run.into()],
        )
        .await?;
    let code = rows.first().map(|row| row.optional_text(0)).transpose()?;
    Ok(code.flatten().map(str::to_owned))
}

async fn look(scope: &Scope, run: RunId) -> Result<Stand, ApiError> {
    let rows = scope
        .query(
            "SELECT phase, waits, next_seq, epoch FROM runs WHERE workspace_id = ?1 AND id = ?2",
            [run.into()],
        )
        .await?;
    let row = rows.first().ok_or_else(|| ApiError::not_found("run"))?;
    Ok(Stand {
        phase: Phase::from_name(row.text(0)?).ok_or_else(|| ApiError::not_found("run"))?,
        waits: row.optional_text(1)?.and_then(Waits::from_name),
        next_seq: row.unsigned(2)?,
        epoch: row.unsigned(3)?,
    })
}

/// Holds a batch back unless the run is in the phase it was seen in.
pub(crate) fn still(scope: &Scope, run: RunId, stand: &Stand) -> Statement {
    scope.guard(
        MOVED,
        "SELECT 1 FROM runs WHERE workspace_id = ?1 AND id = ?2 AND phase = ?3",
        [run.into(), stand.phase.as_str().into()],
    )
}

/// Holds a batch back unless the run's lease has run out.
pub(super) fn lapsed(scope: &Scope, run: RunId, now: UnixMillis) -> Statement {
    scope.guard(
        MOVED,
        "SELECT 1 FROM runs WHERE workspace_id = ?1 AND id = ?2 AND due_at <= ?3",
        [run.into(), now.into()],
    )
}

/// Writes an event of the edge's own, and brings the run's row up to it, if the run still stands where it was seen.
pub(crate) fn write(
    edge: &Edge,
    scope: &Scope,
    run: RunId,
    stand: &Stand,
    event: &EventBody,
) -> Vec<Statement> {
    let now = edge.now();
    let phase = stand.phase.after(event).unwrap_or(stand.phase);
    let due_at: Option<UnixMillis> = match event {
        EventBody::Paused { until, .. } | EventBody::Poisoned { until, .. } => Some(*until),
        EventBody::Resumed { .. } => Some(now),
        _ => None,
    };
    let mut batch = vec![
        scope.guard(
            MOVED,
            "SELECT 1 FROM runs WHERE workspace_id = ?1 AND id = ?2 AND next_seq = ?3 AND phase = ?4",
            [run.into(), stand.next_seq.into(), stand.phase.as_str().into()],
        ),
        journal::insert(scope, run, stand.next_seq, stand.epoch, now, event),
        scope.sql(
            "UPDATE runs SET phase = ?3, waits = ?4, next_seq = next_seq + 1, due_at = ?5, lease_id = NULL, outcome = NULL, \
             crashes = CASE WHEN ?6 = 1 THEN 0 ELSE crashes END, updated_at = ?7 WHERE workspace_id = ?1 AND id = ?2",
            [
                run.into(),
                phase.as_str().into(),
                Waits::after(event)
                    .map(|waits| waits.as_str().to_owned())
                    .into(),
                due_at.into(),
                event.is_progress().into(),
                now.into(),
            ],
        ),
    ];
    if phase.is_terminal() {
        batch.extend(signal::hand_on(edge, scope, run, phase, now));
    }
    batch
}
