//! The list of runs.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use roost_shared::{
    UnixMillis,
    run::{Phase, Waits},
    work::Trust,
};
use serde::Deserialize;

use super::{
    layout::{self, Section},
    list::{Listing, words},
    notices, show, start, text,
    visitor::{Refusal, Visitor, chosen, chosen_id},
};
use crate::{
    api::{
        agents,
        runs::{self, RunView},
    },
    edge::Edge,
};

/// Which runs, as the form and the links say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    phase: String,
    agent: String,
    cursor: String,
}

/// `GET /admin/runs`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Query(filter): Query<Filter>,
) -> Result<Response, Refusal> {
    let person = &visitor.0;
    let query = runs::Query {
        phase: chosen(&filter.phase),
        agent: chosen_id(&filter.agent, "agent")?,
        cursor: chosen_id(&filter.cursor, "page")?,
        limit: None,
    };
    let page = runs::page(person, &query).await?;
    let notices = notices::section(&edge, person).await?;
    let agents = agents::all(&person.scope).await?;
    let listing = Listing::at("/admin/runs", &filter.cursor, page.next)
        .by(
            ("Phase", "phase"),
            &filter.phase,
            words(Phase::ALL.map(Phase::as_str)),
        )
        .by(
            ("Agent", "agent"),
            &filter.agent,
            agents.iter().map(|agent| (agent.spec.id, &agent.spec.name)),
        );
    if page.items.is_empty() && !listing.is_part() {
        let main = html! {
            (notices)
            h1 { "Runs" }
            div.empty #runs data-refresh="3000" {
                p { "No run yet. A run begins when somebody says something that an agent listens for." }
                (start::steps(&edge, person).await?)
            }
        };
        return Ok(layout::page(&visitor, Section::Runs, "Runs", &main));
    }
    let now = edge.now();
    let main = html! {
        (notices)
        div.head {
            h1 { "Runs" }
            (listing.filter())
        }
        // Older pages don't change, so only the first one looks again.
        div #runs data-refresh=[listing.is_newest().then_some("3000")] {
            @if page.items.is_empty() {
                (listing.nothing("run"))
            } @else {
                (table(now, &page.items))
                (listing.pager())
            }
        }
    };
    Ok(layout::page(&visitor, Section::Runs, "Runs", &main))
}

/// Runs as rows.
pub(super) fn table(now: UnixMillis, runs: &[RunView]) -> Markup {
    html! {
        table.list {
            thead { tr { th { "Phase" } th { "Asked" } th { "Agent" } th { "Conversation" } th.number { "Cost" } th.number { "Age" } } }
            tbody {
                @for run in runs {
                    tr id={ "run-" (run.id) } {
                        td.first { (show::state(run.phase)) }
                        td.wide {
                            a.row href={ "/admin/runs/" (run.id) } { (asked(run)) }
                            span.by {
                                bdi { (run.asked.by) } @if run.asked.trust == Trust::Outsider { " (outsider)" }
                                @if let Some(waits) = run.waits.as_deref().and_then(Waits::from_name) {
                                    " · " strong.waits { (show::waits(Some(waits))) }
                                }
                            }
                        }
                        td { bdi { (run.agent.name) } }
                        td.clip { (show::conversation(&run.conversation)) }
                        td.number { (text::money(run.cost)) }
                        td.number { (show::ago(now, run.created_at)) }
                    }
                }
            }
        }
    }
}

/// What was asked, in a line.
pub(super) fn asked(run: &RunView) -> Markup {
    let line = text::line(&run.asked.excerpt, 120);
    html! { @if line.is_empty() { (run.asked.kind) } @else { bdi { (line) } } }
}
