//! Deliveries: the list, one with its headers and body, and the buttons that replay them.

use std::{sync::Arc, time::Duration};

use axum::{
    Form,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use roost_shared::{DeliveryId, UnixMillis};
use serde::Deserialize;

use super::{
    field,
    layout::{self, Section},
    list::{Listing, words},
    show, text,
    visitor::{Refusal, Visitor, chosen, chosen_id, id},
};
use crate::{
    api::{
        deliveries::{self, DeliveryDetail, DeliveryView, RawBody},
        integrations,
    },
    edge::Edge,
    ingress::replay::{self, Span},
};

/// Which deliveries, as the form and the links say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    verdict: String,
    integration: String,
    cursor: String,
    /// What a replay just came to: deliveries looked at, and runs.
    replayed: Option<u64>,
    runs: Option<u64>,
}

/// How far back a replay goes, in hours, and in words.
const SPANS: [(u64, &str); 3] = [(1, "hour"), (24, "day"), (72, "three days")];

/// `GET /admin/deliveries`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Query(filter): Query<Filter>,
) -> Result<Response, Refusal> {
    let person = &visitor.0;
    let query = deliveries::Query {
        verdict: chosen(&filter.verdict),
        integration: chosen_id(&filter.integration, "integration")?,
        cursor: chosen_id(&filter.cursor, "page")?,
        limit: None,
    };
    let page = deliveries::page(person, &query).await?;
    let integrations = integrations::all(&edge, &person.scope).await?;
    let listing = Listing::at("/admin/deliveries", &filter.cursor, page.next)
        .by(
            ("Verdict", "verdict"),
            &filter.verdict,
            words(["accepted", "ignored"]),
        )
        .by(
            ("Integration", "integration"),
            &filter.integration,
            integrations.iter().map(|one| (one.id, &one.name)),
        );
    let rows = html! {
        @if !page.items.is_empty() {
            (table(edge.now(), &page.items))
            (listing.pager())
            @if filter.verdict == "ignored" { (replay_form(&filter.integration)) }
        } @else if listing.is_part() {
            (listing.nothing("delivery"))
        } @else {
            div.empty {
                p { "Nothing was delivered yet. A delivery is a webhook request with a good signature." }
                @match integrations.first() {
                    Some(one) => p {
                        "Check that the channel sends to the address of "
                        a href={ "/admin/integrations/" (one.id) } { (one.name) }
                        ", and look there for what it answered: a wrong signature is answered 401 and not stored."
                    },
                    None => p { a href="/admin/integrations" { "Connect a channel" } " first." },
                }
            }
        }
    };
    let main = html! {
        div.head {
            h1 { "Deliveries" }
            @if !integrations.is_empty() { (listing.filter()) }
        }
        (show::done(replayed(&filter).as_deref()))
        div #deliveries data-refresh=[listing.is_newest().then_some("5000")] { (rows) }
    };
    Ok(layout::page(&visitor, Section::Deliveries, "Deliveries", &main))
}

fn table(now: UnixMillis, deliveries: &[DeliveryView]) -> Markup {
    html! {
        table.list {
            thead { tr { th { "Verdict" } th { "What it was" } th { "Integration" } th { "What follows" } th.number { "Size" } th.number { "Age" } } }
            tbody {
                @for delivery in deliveries {
                    tr id={ "delivery-" (delivery.id) } {
                        td.first { (show::state(&delivery.verdict)) }
                        td.wide {
                            a.row href={ "/admin/deliveries/" (delivery.id) } { bdi { (what(delivery)) } }
                            span.by { code { bdi { (text::line(&delivery.dedupe_key, 60)) } } }
                        }
                        td { (delivery.integration.name) }
                        td { (follows(delivery)) }
                        td.number { (text::bytes(delivery.bytes)) }
                        td.number { (show::ago(now, delivery.received_at)) }
                    }
                }
            }
        }
    }
}

/// What it was; for an ignored one, why nothing follows.
fn what(delivery: &DeliveryView) -> String {
    let words = delivery.event.as_ref().or(delivery.reason.as_ref());
    text::line(words.map_or("", String::as_str), 80)
}

fn follows(delivery: &DeliveryView) -> Markup {
    html! {
        @match &delivery.reason {
            Some(_) => span.muted { "nothing" },
            None => @for (at, run) in delivery.runs.iter().enumerate() {
                @if at > 0 { ", " }
                a href={ "/admin/runs/" (run) } {
                    @if delivery.runs.len() == 1 { "the run" } @else { "run " (at + 1) }
                }
            }
        }
    }
}

/// `GET /admin/deliveries/{id}`.
pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(delivery): Path<String>,
    Query(after): Query<Filter>,
) -> Result<Response, Refusal> {
    let detail = deliveries::detail(&visitor.0, id(&delivery, "delivery")?).await?;
    let done = replayed(&after);
    let now = edge.now();
    let delivery = &detail.delivery;
    let main = html! {
        p.back { a href="/admin/deliveries" { "← Deliveries" } }
        h1 { bdi { (what(delivery)) } }
        (show::done(done.as_deref()))
        p.meta {
            (show::state(&delivery.verdict)) " Received " (show::ago(now, delivery.received_at)) " by "
            a href={ "/admin/integrations/" (delivery.integration.id) } { (delivery.integration.name) }
            " (" (show::channel(&delivery.integration.channel)) "), " (text::bytes(delivery.bytes)) ". The sender calls it "
            code { bdi { (text::line(&delivery.dedupe_key, 80)) } } "."
        }
        @match &delivery.reason {
            Some(reason) => p { "It was ignored: " bdi { (reason) } "." },
            None => p { "What follows from it: " (follows(delivery)) "." },
        }
        @if !matches!(detail.body, RawBody::RemovedAfterDays(_)) {
            form.row method="post" action={ "/admin/deliveries/" (delivery.id) "/replay" } {
                button { "Replay it" }
                span.muted { "It is routed again by the set-up of today, to agents that have not had it." }
            }
        }
        @if let Some(effect) = &detail.acknowledgement {
            h2 { "The sign of receipt" }
            (show::effect(now, effect))
        }
        (payload(&detail))
    };
    Ok(layout::page(&visitor, Section::Deliveries, "A delivery", &main))
}

/// What a replay came to.
fn replayed(filter: &Filter) -> Option<String> {
    let deliveries = filter.replayed?;
    Some(match (deliveries, filter.runs.unwrap_or(0)) {
        (0, _) => "There was nothing to replay.".to_owned(),
        (_, 0) => "It was heard again; nothing new follows from it.".to_owned(),
        (deliveries, runs) => format!(
            "{} heard again; {} took it up.",
            text::count(deliveries, "delivery").replace("deliverys", "deliveries"),
            text::count(runs, "run")
        ),
    })
}

fn replay_form(integration: &str) -> Markup {
    html! {
        form.row method="post" action="/admin/deliveries/replay" {
            input type="hidden" name="integration" value=(integration);
            (field::choice("Replay what no agent listened for, of the last", "hours", &html! {
                @for (hours, words) in SPANS { option value=(hours) { (words) } }
            }))
            button { "Replay" }
        }
    }
}

/// What the form sends that has many replayed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Many {
    integration: String,
    hours: u64,
}

/// `POST /admin/deliveries/{id}/replay`.
pub(super) async fn replay(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(delivery): Path<String>,
) -> Result<Response, Refusal> {
    let delivery: DeliveryId = id(&delivery, "delivery")?;
    let done = replay::replay(&edge, &person.scope, delivery).await?;
    let to = format!("/admin/deliveries/{delivery}?replayed=1&runs={}", done.runs.len());
    Ok(Redirect::to(&to).into_response())
}

/// `POST /admin/deliveries/replay`.
pub(super) async fn replay_span(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Form(many): Form<Many>,
) -> Result<Response, Refusal> {
    let mut span = Span {
        integration: chosen_id(&many.integration, "integration")?,
        from: edge.now() - Duration::from_secs(many.hours.clamp(1, 72) * 3600),
        ..Span::default()
    };
    let (mut deliveries, mut runs) = (0, 0);
    loop {
        let (done, next) = replay::replay_span(&edge, &person.scope, &span).await?;
        deliveries += done.len();
        runs += done.iter().map(|one| one.runs.len()).sum::<usize>();
        span.cursor = next;
        if next.is_none() {
            break;
        }
    }
    let to = format!("/admin/deliveries?replayed={deliveries}&runs={runs}");
    Ok(Redirect::to(&to).into_response())
}

/// Headers and body, or that they are gone.
fn payload(detail: &DeliveryDetail) -> Markup {
    if let RawBody::RemovedAfterDays(days) = detail.body {
        return html! {
            p.muted { "The payload was removed after " (text::count(days, "day")) ", so it can't be replayed." }
        };
    }
    html! {
        h2 { "Headers" }
        p.muted { "As the sender sent them; credentials are not kept." }
        dl.fields {
            @for (name, value) in &detail.headers {
                dt { bdi { (name) } }
                dd { code { bdi { (value) } } }
            }
        }
        h2 { "Body" }
        (body(&detail.body))
    }
}

fn body(body: &RawBody) -> Markup {
    match body {
        RawBody::Text(body) => {
            let pretty = serde_json::from_str::<serde_json::Value>(body)
                .ok()
                .and_then(|json| serde_json::to_string_pretty(&json).ok());
            html! {
                p.muted {
                    "As the sender sent it"
                    @if pretty.is_some() { ", with line breaks added" }
                    "."
                }
                (show::block(pretty.as_deref().unwrap_or(body)))
            }
        }
        RawBody::Base64(body) => html! {
            p.muted { "It is not text; in base 64:" }
            (show::block(body))
        },
        RawBody::RemovedAfterDays(_) => html! {},
    }
}
