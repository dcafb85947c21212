//! Effects: what went out, what could not, and what only a person can tell of; and the buttons that decide.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use roost_shared::{EffectId, UnixMillis, effect::Effect, work::ReplyTo};
use serde::Deserialize;

use super::{
    layout::{self, Section},
    list::{Listing, words},
    notices, show, text,
    visitor::{Refusal, Visitor, chosen, chosen_id, id},
};
use crate::{
    api::{
        effects::{self, EffectView, STATES},
        integrations::{self, IntegrationView},
    },
    edge::Edge,
    outbox::{
        self,
        decide::{self, Replay, Verdict},
    },
};

/// Which effects, as the form and the links say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    state: String,
    integration: String,
    cursor: String,
    replayed: Option<u64>,
}

/// `GET /admin/effects`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Query(filter): Query<Filter>,
) -> Result<Response, Refusal> {
    let person = &visitor.0;
    let query = effects::Query {
        state: chosen(&filter.state),
        integration: chosen_id(&filter.integration, "integration")?,
        cursor: chosen_id(&filter.cursor, "page")?,
        ..effects::Query::default()
    };
    let page = effects::page(person, &query).await?;
    let integrations = integrations::all(&edge, &person.scope).await?;
    let listing = Listing::at("/admin/effects", &filter.cursor, page.next)
        .by(("State", "state"), &filter.state, words(STATES))
        .by(
            ("Integration", "integration"),
            &filter.integration,
            integrations.iter().map(|one| (one.id, &one.name)),
        );
    let done = filter.replayed.map(|replayed| match replayed {
        0 => "There was nothing to send again.".to_owned(),
        many => format!("{} sent again.", text::count(many, "effect")),
    });
    let main = html! {
        (notices::section(&edge, person).await?)
        div.head {
            h1 { "Effects" }
            @if !integrations.is_empty() { (listing.filter()) }
        }
        (show::done(done.as_deref()))
        @if page.items.is_empty() && listing.is_part() {
            (listing.nothing("effect"))
        } @else if page.items.is_empty() {
            div.empty {
                p { "Nothing went out yet. What an agent says in a channel, and each sign of receipt, is listed here." }
                p { "It begins with a run: " a href="/admin/runs" { "see the runs" } "." }
            }
        } @else {
            (table(edge.now(), &page.items, &integrations))
            (listing.pager())
            @if filter.state == "failed" { (send_all_again(&filter.integration)) }
        }
    };
    Ok(layout::page(&visitor, Section::Effects, "Effects", &main))
}

/// The button for all that failed, of one integration or of all.
fn send_all_again(integration: &str) -> Markup {
    html! {
        details.confirm {
            summary { "Send all that failed again" }
            form method="post" action="/admin/effects/replay" {
                input type="hidden" name="integration" value=(integration);
                span {
                    @if integration.is_empty() { "Replies of all integrations" } @else { "Replies of this integration" }
                    ", also those on other pages; signs of receipt are left out."
                }
                button.danger { "Yes, send them" }
            }
        }
    }
}

fn table(now: UnixMillis, effects: &[EffectView], integrations: &[IntegrationView]) -> Markup {
    let name = |effect: &EffectView| {
        let integration = integrations.iter().find(|one| one.id == effect.integration);
        integration.map_or("", |one| one.name.as_str()).to_owned()
    };
    html! {
        table.list {
            thead { tr { th { "State" } th { "What" } th { "Where" } th { "Integration" } th.number { "Tried" } th.number { "Age" } } }
            tbody {
                @for effect in effects {
                    tr id={ "effect-" (effect.id) } {
                        td.first { (show::state(&effect.state)) }
                        td.wide {
                            a.row href={ "/admin/effects/" (effect.id) } { bdi { (what(&effect.effect)) } }
                            @if let Some(reason) = &effect.reason { span.by { (text::line(reason, 110)) } }
                        }
                        td.clip { bdi { (place(&effect.effect)) } }
                        td { (name(effect)) }
                        td.number { (text::count(effect.attempts, "time")) }
                        td.number { (show::ago(now, effect.created_at)) }
                    }
                }
            }
        }
    }
}

fn what(effect: &Effect) -> String {
    match effect {
        Effect::Acknowledge { .. } => "Sign of receipt".to_owned(),
        Effect::Reply { text, .. } => text::line(text, 100),
    }
}

/// Where it goes, in the channel's words.
fn place(effect: &Effect) -> String {
    let (Effect::Acknowledge { to } | Effect::Reply { to, .. }) = effect;
    match to {
        ReplyTo::Github {
            repository, number, ..
        } => format!("{repository}#{number}"),
        ReplyTo::Telegram { chat, .. } => format!("chat {chat}"),
        ReplyTo::Generic { conversation, .. } => text::line(conversation, 60),
    }
}

/// `GET /admin/effects/{id}`.
pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(effect): Path<String>,
) -> Result<Response, Refusal> {
    let person = &visitor.0;
    let view = effects::one(person, id(&effect, "effect")?).await?;
    let integration = integrations::one(&edge, &person.scope, view.integration).await?;
    let now = edge.now();
    let main = html! {
        p.back { a href="/admin/effects" { "← Effects" } }
        h1 { bdi { (what(&view.effect)) } }
        p.meta {
            "Queued " (show::ago(now, view.created_at)) " for " bdi { (place(&view.effect)) } " by "
            a href={ "/admin/integrations/" (integration.id) } { (integration.name) }
            " (" (show::channel(integration.settings.channel())) "). "
            @if let Some(run) = view.run { a href={ "/admin/runs/" (run) } { "The run" } " it follows from." }
        }
        (show::outcome(now, &view))
        @if view.state == "pending" && integration.enabled && integration.sending.paused_at.is_some() {
            p {
                "Sending by " a href={ "/admin/integrations/" (integration.id) } { (integration.name) }
                " is paused: it goes out once somebody resumes that."
            }
        }
        (actions(&view))
        @if let Effect::Reply { text, .. } = &view.effect {
            h2 { "What it says" }
            (show::block(text))
        }
    };
    Ok(layout::page(&visitor, Section::Effects, "An effect", &main))
}

/// What a person can decide about it.
fn actions(effect: &EffectView) -> Markup {
    let button = |verb: &str, label: &str| {
        html! {
            form method="post" action={ "/admin/effects/" (effect.id) "/" (verb) } { button { (label) } }
        }
    };
    html! {
        @match effect.state.as_str() {
            "unknown" if effect.waits_for_person => {
                p { "Look into the channel, then say what you found:" }
                div.actions {
                    (button("arrived", "It arrived"))
                    (button("replay", "It did not: send it again"))
                    (button("drop", "Drop it"))
                }
            },
            "failed" => div.actions { (button("replay", "Send it again")) },
            "pending" => div.actions { (button("drop", "Drop it")) },
            _ => {},
        }
    }
}

/// What the form sends that has all sent again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct All {
    integration: String,
}

/// `POST /admin/effects/replay`.
pub(super) async fn replay_all(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Form(all): Form<All>,
) -> Result<Response, Refusal> {
    let which = Replay {
        integration: chosen_id(&all.integration, "integration")?,
        from: Some(UnixMillis(0)),
        ..Replay::default()
    };
    let replayed = decide::replay(&edge, &person.scope, &which, person.name()).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(Redirect::to(&format!("/admin/effects?replayed={replayed}")).into_response())
}

/// `POST /admin/effects/{id}/replay`.
pub(super) async fn replay(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(effect): Path<String>,
) -> Result<Response, Refusal> {
    let effect: EffectId = id(&effect, "effect")?;
    decide::replay_one(&edge, &person.scope, effect, person.name()).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(to(effect))
}

/// `POST /admin/effects/{id}/arrived`.
pub(super) async fn arrived(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(effect): Path<String>,
) -> Result<Response, Refusal> {
    let effect: EffectId = id(&effect, "effect")?;
    decide::decide(&edge, &person.scope, effect, Verdict::Arrived, person.name()).await?;
    Ok(to(effect))
}

/// `POST /admin/effects/{id}/drop`.
pub(super) async fn drop(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(effect): Path<String>,
) -> Result<Response, Refusal> {
    let effect: EffectId = id(&effect, "effect")?;
    decide::decide(&edge, &person.scope, effect, Verdict::Dropped, person.name()).await?;
    Ok(to(effect))
}

fn to(effect: EffectId) -> Response {
    Redirect::to(&format!("/admin/effects/{effect}")).into_response()
}
