//! The buttons of a run's page: cancel, pause, resume, answer.
//!
//! Invariant: a button is there only while it does something; whatever it came to, the page shows it.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use roost_shared::{
    RunId,
    question::{Choice, Question},
    run::{Phase, Waits, fails_again},
};
use serde::Deserialize;

use super::{
    show::prose,
    visitor::{Refusal, Visitor, id},
};
use crate::{api::control::Answer, edge::Edge, error::ApiError, runs::control};

/// What can be done about a run as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Controls {
    pub(super) run: RunId,
    pub(super) phase: Phase,
    pub(super) waits: Option<Waits>,
    /// The code by which it failed.
    pub(super) failure: Option<String>,
    pub(super) question: Option<Question>,
    /// Who asked to cancel it, while its runner has not yet done so.
    pub(super) cancel_asked_by: Option<String>,
    /// Who asked to pause it, likewise.
    pub(super) pause_asked_by: Option<String>,
}

/// `POST /admin/runs/{id}/cancel`.
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let run: RunId = id(&run, "run")?;
    control::cancel(&edge, &person.scope, run, person.name()).await?;
    Ok(back(run))
}

/// `POST /admin/runs/{id}/pause`.
pub(super) async fn pause(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let run: RunId = id(&run, "run")?;
    control::pause(&edge, &person.scope, run, person.name()).await?;
    Ok(back(run))
}

/// `POST /admin/runs/{id}/resume`.
pub(super) async fn resume(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let run: RunId = id(&run, "run")?;
    control::resume(&edge, &person.scope, run, person.name()).await?;
    Ok(back(run))
}

/// What the form of an answer holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnswerForm {
    choice: String,
    text: String,
}

/// `POST /admin/runs/{id}/answer`.
pub(super) async fn answer(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(run): Path<String>,
    Form(form): Form<AnswerForm>,
) -> Result<Response, Refusal> {
    let run: RunId = id(&run, "run")?;
    let choice = Choice::ALL
        .into_iter()
        .find(|choice| choice.as_str() == form.choice);
    if choice.is_none() && !form.choice.is_empty() {
        return Err(ApiError::invalid("choose one of the answers").into());
    }
    let answer = Answer {
        choice,
        text: form.text,
    };
    control::answer(&edge, &person.scope, run, answer.by(person.name())?).await?;
    Ok(back(run))
}

fn back(run: RunId) -> Response {
    Redirect::to(&format!("/admin/runs/{run}")).into_response()
}

/// The buttons.
pub(super) fn actions(controls: &Controls) -> Markup {
    let action = |verb: &str| format!("/admin/runs/{}/{verb}", controls.run);
    html! {
        div #actions {
            @if let Some(code) = &controls.failure {
                @if !fails_again(code) {
                    form method="post" action=(action("resume")) { button { "Try again" } }
                    p.muted { "It goes on where it stood: what the model and the tools have said is kept." }
                }
            } @else if controls.phase.is_terminal() {
            } @else if let Some(by) = &controls.cancel_asked_by {
                p.muted { bdi { (by) } " asked to stop it; its runner does so before its next step." }
            } @else {
                @if let (Some(Waits::Asked), Some(question)) = (controls.waits, &controls.question) {
                    form.answer.card method="post" action=(action("answer")) {
                        div.question { (prose(&question.text)) }
                        label { "A word to the agent, if you like" textarea name="text" rows="2" {} }
                        @for choice in &question.options {
                            button name="choice" value=(choice.as_str()) { (capital(choice.meaning())) }
                        }
                    }
                }
                @match (controls.phase, controls.waits) {
                    (Phase::Waiting, Some(Waits::Asked)) => {}
                    (Phase::Waiting, _) => form method="post" action=(action("resume")) { button { "Resume" } },
                    (Phase::Parked, _) => {
                        form method="post" action=(action("resume")) { button { "Wake it now" } }
                        form method="post" action=(action("pause")) { button { "Pause" } }
                    }
                    (Phase::Running, _) if controls.pause_asked_by.is_some() => {
                        p.muted {
                            bdi { (controls.pause_asked_by.as_deref().unwrap_or_default()) }
                            " asked to pause it; its runner does so after its step."
                        }
                        form method="post" action=(action("resume")) { button { "Don't pause" } }
                    }
                    _ => form method="post" action=(action("pause")) { button { "Pause" } },
                }
                details.confirm {
                    summary { "Cancel the run" }
                    form method="post" action=(action("cancel")) {
                        span { "It can't be taken up again." }
                        button.danger { "Yes, cancel it" }
                    }
                }
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}
