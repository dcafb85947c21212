//! Integrations: the list, and the form that creates or changes one.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::html;
use roost_shared::IntegrationId;
use serde::Deserialize;

use super::{
    field::Purpose,
    integration_form::{self, IntegrationForm},
    layout::{self, Section},
    notices, show,
    standing::{sending, standing, swept},
    visitor::{Refusal, Visitor, id},
};
use crate::{
    api::integrations::{self, IntegrationView},
    edge::Edge,
    error::ApiError,
    outbox::{self, health},
    setup,
};

/// Each channel and what it is for.
const CHANNELS: [(&str, &str); 3] = [
    (
        "github",
        "Issues, pull requests and reviews, as an App or for one repository",
    ),
    ("telegram", "Chats, groups and topics, by a bot"),
    (
        "generic",
        "Anything that can sign a request: CI, monitoring, your own programs",
    ),
];

/// What a redirect after a form says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct After {
    done: String,
}

/// `GET /admin/integrations`.
pub(super) async fn list(State(edge): State<Arc<Edge>>, visitor: Visitor) -> Result<Response, Refusal> {
    let all = integrations::all(&edge, &visitor.0.scope).await?;
    let notices = notices::section(&edge, &visitor.0).await?;
    let main = html! {
        (notices)
        h1 { "Integrations" }
        @if all.is_empty() {
            p.empty { "No channel is connected yet. Choose one: agents hear what is said there, and answer." }
        } @else {
            table.list {
                thead { tr { th { "State" } th { "Name" } th { "Channel" } th { "Webhook" } } }
                tbody {
                    @for one in &all {
                        tr {
                            td.first { (standing(one)) }
                            td.wide { a.row href={ "/admin/integrations/" (one.id) } { (one.name) } }
                            td { (show::channel(one.settings.channel())) }
                            td.clip { code { (one.webhook_url) } }
                        }
                    }
                }
            }
        }
        h2 { "Connect a channel" }
        ul.choices {
            @for (channel, what) in CHANNELS {
                li {
                    a href={ "/admin/integrations/new/" (channel) } { (show::channel(channel)) }
                    span.muted { (what) }
                }
            }
        }
    };
    Ok(layout::page(
        &visitor,
        Section::Integrations,
        "Integrations",
        &main,
    ))
}

/// `GET /admin/integrations/new/{channel}`.
pub(super) async fn blank(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(channel): Path<String>,
) -> Result<Response, Refusal> {
    known(&channel)?;
    let suggestion = integration_form::suggestion(edge.ports.random.as_ref());
    let form = IntegrationForm::blank(&channel);
    Ok(new_page(
        &visitor,
        &channel,
        &form,
        &Purpose::Create(&suggestion),
        None,
    ))
}

/// `POST /admin/integrations/new/{channel}`.
pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(channel): Path<String>,
    Form(form): Form<IntegrationForm>,
) -> Result<Response, Refusal> {
    known(&channel)?;
    let created = async {
        let draft = form.draft(&channel, None)?;
        setup::create_integration(&edge, &visitor.0.scope, draft).await
    };
    match created.await {
        Ok(made) => Ok(to(made.id, "created")),
        Err(error) if error.status.is_client_error() => {
            let page = new_page(
                &visitor,
                &channel,
                &form,
                &Purpose::Correct,
                Some(&error.problem.message),
            );
            Ok(layout::refused(error.status, page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /admin/integrations/{id}`.
pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(integration): Path<String>,
    Query(after): Query<After>,
) -> Result<Response, Refusal> {
    let view = integrations::one(&edge, &visitor.0.scope, id(&integration, "integration")?).await?;
    let form = IntegrationForm::of(&view.name, view.enabled, &view.settings);
    let done = match after.done.as_str() {
        "created" => Some("It is connected on this side; now the other."),
        "saved" => Some("Saved."),
        "resumed" => Some("Sending goes on; what waited goes out now, in order."),
        _ => None,
    };
    Ok(one_page(&edge, &visitor, &view, &form, done, None))
}

/// `POST /admin/integrations/{id}`.
pub(super) async fn update(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(integration): Path<String>,
    Form(form): Form<IntegrationForm>,
) -> Result<Response, Refusal> {
    let scope = &visitor.0.scope;
    let integration: IntegrationId = id(&integration, "integration")?;
    let config = edge.configs.reload(scope).await?;
    let stored = config
        .by_id(integration)
        .ok_or_else(|| ApiError::not_found("integration"))?;
    let channel = stored.integration.settings.channel();
    let form = form.named(&stored.integration.name);
    let updated = async {
        let draft = form.draft(channel, Some(stored.open(&edge.sealer)?))?;
        setup::update_integration(&edge, scope, integration, draft).await
    };
    match updated.await {
        Ok(_) => {
            outbox::send_soon(&edge, scope);
            Ok(to(integration, "saved"))
        }
        Err(error) if error.status.is_client_error() => {
            let view = integrations::one(&edge, scope, integration).await?;
            let page = one_page(&edge, &visitor, &view, &form, None, Some(&error.problem.message));
            Ok(layout::refused(error.status, page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/integrations/{id}/resume`.
pub(super) async fn resume(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(integration): Path<String>,
) -> Result<Response, Refusal> {
    let integration: IntegrationId = id(&integration, "integration")?;
    health::resume(&edge, &person.scope, integration).await?;
    outbox::send_soon(&edge, &person.scope);
    Ok(to(integration, "resumed"))
}

fn known(channel: &str) -> Result<(), Refusal> {
    let known = CHANNELS.iter().any(|(name, _)| *name == channel);
    known
        .then_some(())
        .ok_or_else(|| ApiError::not_found("channel").into())
}

fn to(integration: IntegrationId, done: &str) -> Response {
    Redirect::to(&format!("/admin/integrations/{integration}?done={done}")).into_response()
}

fn new_page(
    visitor: &Visitor,
    channel: &str,
    form: &IntegrationForm,
    purpose: &Purpose<'_>,
    wrong: Option<&str>,
) -> Response {
    let title = match channel {
        "generic" => "Connect a webhook".to_owned(),
        channel => format!("Connect {}", show::channel(channel)),
    };
    let main = html! {
        p.back { a href="/admin/integrations" { "← Integrations" } }
        h1 { (title) }
        form.card method="post" action={ "/admin/integrations/new/" (channel) } {
            (show::alert(wrong))
            (form.fields(channel, purpose))
            button.main { "Connect" }
        }
    };
    layout::page(visitor, Section::Integrations, &title, &main)
}

fn one_page(
    edge: &Edge,
    visitor: &Visitor,
    view: &IntegrationView,
    form: &IntegrationForm,
    done: Option<&str>,
    wrong: Option<&str>,
) -> Response {
    let channel = view.settings.channel();
    let main = html! {
        p.back { a href="/admin/integrations" { "← Integrations" } }
        h1 { (view.name) }
        p.meta {
            (standing(view)) " " (show::channel(channel)) ". "
            a href={ "/admin/deliveries?integration=" (view.id) } { "What it delivered" } ", "
            a href={ "/admin/effects?integration=" (view.id) } { "what it sent" }
        }
        (show::done(done))
        (sending(edge, view))
        (swept(edge, view))
        section.card {
            h2 { "At the channel" }
            (integration_form::at_the_channel(&view.settings, &view.webhook_url))
        }
        form.card method="post" action={ "/admin/integrations/" (view.id) } {
            h2 { "Settings" }
            (show::alert(wrong))
            (form.fields(channel, &Purpose::Edit))
            button.main { "Save" }
        }
    };
    layout::page(visitor, Section::Integrations, &view.name, &main)
}
