//! One run: what it is about, its timeline, what it used up, what was sent, and what can be done about it.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use maud::{Markup, html};
use roost_shared::UnixMillis;

use super::{
    control::{Controls, actions},
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
        (actions(&Controls {
            cancel_asked_by: detail.cancel_asked_by.clone(),
            pause_asked_by: detail.pause_asked_by.clone(),
            ..timeline.controls(run.id)
        }))
        ol #timeline.timeline data-live=[(!settled).then_some(live)] { (entries) }
        (effects(now, &detail.effects))
    };
    let title = text::line(&run.asked.excerpt, 40);
    Ok(layout::page(&visitor, Section::Runs, &title, &main))
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

/// What was sent of it.
pub(super) fn effects(now: UnixMillis, effects: &[EffectView]) -> Markup {
    html! {
        section #effects hidden[effects.is_empty()] {
            h2 { "What was sent" }
            @for effect in effects { (show::effect(now, effect)) }
        }
    }
}
