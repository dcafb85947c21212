//! One run: what it is about, its timeline, what it used up, what was sent, and the button that stops it.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use roost_shared::{RunId, UnixMillis};

use super::{
    layout::{self, Section},
    runs::asked,
    show, text,
    timeline::{self, Timeline},
    visitor::{Refusal, Visitor, id},
};
use crate::{
    api::{
        effects::EffectView,
        follow,
        runs::{self, RunDetail},
    },
    auth::session::Person,
    edge::Edge,
    runs::signal,
};

/// Events read at once.
const CHUNK: u32 = 100;

/// `GET /admin/runs/{id}`.
pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let detail = runs::detail(&visitor.0, id(&run, "run")?).await?;
    let (timeline, entries) = fold(&visitor.0, &detail).await?;
    let now = edge.now();
    let run = &detail.run;
    let settled = timeline.is_over() && detail.effects.iter().all(|effect| effect.due_at.is_none());
    let live = format!("/admin/runs/{}/live?from={}", run.id, timeline.next_seq());
    let main = html! {
        p.back { a href="/admin/runs" { "← Runs" } }
        h1 { (asked(run)) }
        p.meta {
            "Asked by " bdi { (run.asked.by) } " " (show::ago(now, run.created_at)) " in " (show::conversation(&run.conversation))
            " (" (show::channel(&run.integration.channel)) "). "
            a href={ "/admin/agents/" (run.agent.id) } { bdi { (run.agent.name) } } " works on it, version " (run.agent.version) ". "
            a href={ "/admin/deliveries/" (run.asked.delivery) } { "The delivery" }
        }
        (timeline.summary())
        (actions(run.id, detail.cancel_asked_by.as_deref(), timeline.is_over()))
        ol #timeline.timeline data-live=[(!settled).then_some(live)] { (entries) }
        (effects(now, &detail.effects))
    };
    let title = text::line(&run.asked.excerpt, 40);
    Ok(layout::page(&visitor, Section::Runs, &title, &main))
}

/// `POST /admin/runs/{id}/cancel`.
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let run: RunId = id(&run, "run")?;
    // Whatever it came to, the page shows it.
    signal::cancel(&edge, &person.scope, run, person.name()).await?;
    Ok(Redirect::to(&format!("/admin/runs/{run}")).into_response())
}

async fn fold(person: &Person, detail: &RunDetail) -> Result<(Timeline, Markup), Refusal> {
    let mut timeline = Timeline::new(&detail.run.agent.name);
    let mut entries = Vec::new();
    loop {
        let (_, events) = follow::look(person, detail.run.id, timeline.next_seq(), CHUNK).await?;
        for event in &events {
            entries.extend(timeline.push(event));
        }
        if events.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX) {
            return Ok((timeline, timeline::assemble(entries)));
        }
    }
}

/// The button that stops the run, for as long as it can be stopped.
pub(super) fn actions(run: RunId, asked_by: Option<&str>, over: bool) -> Markup {
    html! {
        div #actions {
            @if over {
            } @else if let Some(by) = asked_by {
                p.muted { bdi { (by) } " asked to stop it; its runner does so before its next step." }
            } @else {
                details.confirm {
                    summary { "Cancel the run" }
                    form method="post" action={ "/admin/runs/" (run) "/cancel" } {
                        span { "It can't be taken up again." }
                        button.danger { "Yes, cancel it" }
                    }
                }
            }
        }
    }
}

/// What was sent of it.
pub(super) fn effects(now: UnixMillis, effects: &[EffectView]) -> Markup {
    html! {
        section #effects hidden[effects.is_empty()] {
            h2 { "What was sent" }
            @for effect in effects { (show::effect(now, effect)) }
        }
    }
}
