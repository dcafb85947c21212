//! What people do to runs over the API: cancel, pause, resume, answer.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::StatusCode;
use roost_shared::{
    RunId,
    question::{Choice, Decision},
};
use serde::{Deserialize, Serialize};

use super::extract::Id;
use crate::{
    auth::session::Person,
    edge::Edge,
    error::ApiError,
    runs::control::{self, Outcome},
};

/// What it came to.
#[derive(Debug, Serialize)]
pub struct ControlView {
    /// `cancelled`, `paused`, `resumed`, `answered`: done. `cancelling`, `pausing`: the run's runner has been told.
    pub status: &'static str,
}

/// An answer to a run's question.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// One of the question's options.
    pub choice: Option<Choice>,
    /// What else there is to say to the agent.
    pub text: String,
}

impl Answer {
    /// The answer as somebody's decision.
    ///
    /// # Errors
    /// 400 when it says nothing.
    pub fn by(self, name: &str) -> Result<Decision, ApiError> {
        if self.choice.is_none() && self.text.trim().is_empty() {
            return Err(ApiError::invalid("an answer has a `choice`, a `text` or both"));
        }
        if self.text.len() > 32_768 {
            return Err(ApiError::invalid("an answer's text is at most 32,768 bytes"));
        }
        Ok(Decision {
            choice: self.choice,
            by: name.to_owned(),
            text: self.text,
        })
    }
}

/// `POST /api/v1/runs/{id}/cancel`.
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(run): Id<RunId>,
) -> Result<Json<ControlView>, ApiError> {
    let outcome = control::cancel(&edge, &person.scope, run, person.name()).await?;
    view(outcome, "cancelled", "cancelling")
}

/// `POST /api/v1/runs/{id}/pause`.
pub(super) async fn pause(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(run): Id<RunId>,
) -> Result<Json<ControlView>, ApiError> {
    let outcome = control::pause(&edge, &person.scope, run, person.name()).await?;
    view(outcome, "paused", "pausing")
}

/// `POST /api/v1/runs/{id}/resume`.
pub(super) async fn resume(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(run): Id<RunId>,
) -> Result<Json<ControlView>, ApiError> {
    let outcome = control::resume(&edge, &person.scope, run, person.name()).await?;
    view(outcome, "resumed", "resumed")
}

/// `POST /api/v1/runs/{id}/answer`.
pub(super) async fn answer(
    State(edge): State<Arc<Edge>>,
    person: Person,
    Id(run): Id<RunId>,
    Json(answer): Json<Answer>,
) -> Result<Json<ControlView>, ApiError> {
    let decision = answer.by(person.name())?;
    let outcome = control::answer(&edge, &person.scope, run, decision).await?;
    view(outcome, "answered", "answered")
}

fn view(outcome: Outcome, now: &'static str, soon: &'static str) -> Result<Json<ControlView>, ApiError> {
    let status = match outcome {
        Outcome::Now => now,
        Outcome::Soon => soon,
        Outcome::TooLate => {
            let message = "the run had ended before; there is nothing to do about it";
            return Err(ApiError::new(StatusCode::CONFLICT, "run_ended", message));
        }
    };
    Ok(Json(ControlView { status }))
}
