//! Agents: the list, the form that creates or changes one, and what each listens to.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use roost_shared::AgentId;
use serde::Deserialize;

use super::{
    agent_form::{AgentForm, Handle},
    field::{self, field},
    layout::{self, Section},
    runs::table,
    show,
    standing::enabled,
    visitor::{Refusal, Visitor, id},
};
use crate::{
    api::{
        agents::{self, AgentView},
        integrations, runs, subscriptions,
    },
    config::Rule,
    db::Scope,
    edge::Edge,
    error::ApiError,
    setup::{self, SubscriptionDraft},
};

/// What a redirect after a form says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct After {
    done: String,
}

/// What an agent is to listen to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListenForm {
    integration: String,
    on: String,
    label: String,
}

/// `GET /admin/agents`.
pub(super) async fn list(State(edge): State<Arc<Edge>>, visitor: Visitor) -> Result<Response, Refusal> {
    let scope = &visitor.0.scope;
    let all = agents::all(scope).await?;
    let subscriptions = subscriptions::all(&edge, scope).await?;
    let integrations = integrations::all(&edge, scope).await?;
    let listens = |agent: AgentId| -> Vec<String> {
        let own = subscriptions
            .iter()
            .filter(|subscription| subscription.agent == agent);
        own.filter_map(|subscription| {
            let integration = integrations
                .iter()
                .find(|one| one.id == subscription.integration)?;
            Some(format!("{}: {}", integration.name, rule(&subscription.rule)))
        })
        .collect()
    };
    let main = html! {
        div.head {
            h1 { "Agents" }
            a.button href="/admin/agents/new" { "Create an agent" }
        }
        @if all.is_empty() {
            p.empty { "No agent yet. An agent is an employee: a name, a persona, a model and the tools it may use." }
        } @else {
            table.list {
                thead { tr { th { "State" } th { "Name" } th { "Model" } th { "Listens to" } } }
                tbody {
                    @for agent in &all {
                        tr {
                            td.first { (enabled(agent.enabled)) }
                            td.wide {
                                a.row href={ "/admin/agents/" (agent.spec.id) } { bdi { (agent.spec.name) } }
                                span.by { "@" (agent.spec.handle) }
                            }
                            td { code { (agent.spec.model) } }
                            td {
                                @for what in listens(agent.spec.id) { div { (what) } }
                                @if listens(agent.spec.id).is_empty() { span.muted { "nothing yet" } }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(&visitor, Section::Agents, "Agents", &main))
}

/// `GET /admin/agents/new`.
pub(super) async fn blank(visitor: Visitor) -> Response {
    new_page(&visitor, &AgentForm::blank(), None)
}

/// `POST /admin/agents/new`.
pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Form(form): Form<AgentForm>,
) -> Result<Response, Refusal> {
    let created = async { setup::create_agent(&edge, &visitor.0.scope, form.draft()?).await };
    match created.await {
        Ok(spec) => Ok(to(spec.id, "created")),
        Err(error) if error.status.is_client_error() => {
            let page = new_page(&visitor, &form, Some(&error.problem.message));
            Ok(layout::refused(error.status, page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /admin/agents/{id}`.
pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(agent): Path<String>,
    Query(after): Query<After>,
) -> Result<Response, Refusal> {
    let view = agents::one(&visitor.0.scope, id(&agent, "agent")?).await?;
    let form = AgentForm::of(&view.spec, view.enabled);
    let done = match after.done.as_str() {
        "created" => Some("Created. Now say what it listens to."),
        "saved" => Some("Saved. Runs under way keep the version they began with."),
        "listens" => Some("Its subscriptions are changed."),
        _ => None,
    };
    one_page(&edge, &visitor, &view, &form, Said { done, wrong: None }).await
}

/// `POST /admin/agents/{id}`.
pub(super) async fn update(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(agent): Path<String>,
    Form(form): Form<AgentForm>,
) -> Result<Response, Refusal> {
    let scope = &visitor.0.scope;
    let view = agents::one(scope, id(&agent, "agent")?).await?;
    let form = form.called(&view.spec.handle);
    let updated = async { setup::update_agent(&edge, scope, view.spec.id, form.draft()?).await };
    match updated.await {
        Ok(spec) => Ok(to(spec.id, "saved")),
        Err(error) => wrong(&edge, &visitor, &view, &form, error).await,
    }
}

/// `POST /admin/agents/{id}/subscriptions`.
pub(super) async fn subscribe(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(agent): Path<String>,
    Form(form): Form<ListenForm>,
) -> Result<Response, Refusal> {
    let scope = &visitor.0.scope;
    let view = agents::one(scope, id(&agent, "agent")?).await?;
    let subscribed = async {
        let draft = SubscriptionDraft {
            agent: view.spec.id,
            integration: form
                .integration
                .parse()
                .map_err(|_| ApiError::invalid("choose an integration"))?,
            rule: match form.on.as_str() {
                "any" => Rule::Any,
                "label" => Rule::Label {
                    name: form.label.trim().to_owned(),
                },
                _ => Rule::Mention,
            },
        };
        setup::subscribe(&edge, scope, &draft).await
    };
    match subscribed.await {
        Ok(_) => Ok(to(view.spec.id, "listens")),
        Err(error) => {
            let agent_form = AgentForm::of(&view.spec, view.enabled);
            wrong(&edge, &visitor, &view, &agent_form, error).await
        }
    }
}

/// `POST /admin/agents/{id}/subscriptions/{subscription}/end`.
pub(super) async fn unsubscribe(
    visitor: Visitor,
    Path((agent, subscription)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let agent: AgentId = id(&agent, "agent")?;
    setup::unsubscribe(&visitor.0.scope, id(&subscription, "subscription")?).await?;
    Ok(to(agent, "listens"))
}

/// What was said above the forms.
struct Said<'a> {
    done: Option<&'a str>,
    wrong: Option<&'a str>,
}

fn rule(rule: &Rule) -> String {
    match rule {
        Rule::Mention => "when it is mentioned".to_owned(),
        Rule::Label { name } => format!("what is labelled “{name}”"),
        Rule::Any => "everything".to_owned(),
    }
}

fn to(agent: AgentId, done: &str) -> Response {
    Redirect::to(&format!("/admin/agents/{agent}?done={done}")).into_response()
}

async fn wrong(
    edge: &Edge,
    visitor: &Visitor,
    view: &AgentView,
    form: &AgentForm,
    error: ApiError,
) -> Result<Response, Refusal> {
    if !error.status.is_client_error() {
        return Err(error.into());
    }
    let said = Said {
        done: None,
        wrong: Some(&error.problem.message),
    };
    let page = one_page(edge, visitor, view, form, said).await?;
    Ok(layout::refused(error.status, page))
}

fn new_page(visitor: &Visitor, form: &AgentForm, wrong: Option<&str>) -> Response {
    let main = html! {
        p.back { a href="/admin/agents" { "← Agents" } }
        h1 { "Create an agent" }
        form.card method="post" action="/admin/agents/new" {
            (show::alert(wrong))
            (form.fields(Handle::Open))
            button.main { "Create" }
        }
    };
    layout::page(visitor, Section::Agents, "Create an agent", &main)
}

async fn one_page(
    edge: &Edge,
    visitor: &Visitor,
    view: &AgentView,
    form: &AgentForm,
    said: Said<'_>,
) -> Result<Response, Refusal> {
    let spec = &view.spec;
    let latest = runs::Query {
        agent: Some(spec.id),
        limit: Some(5),
        ..runs::Query::default()
    };
    let latest = runs::page(&visitor.0, &latest).await?;
    let main = html! {
        p.back { a href="/admin/agents" { "← Agents" } }
        h1 { bdi { (spec.name) } }
        p.meta {
            (enabled(view.enabled)) " Called " code { "@" (spec.handle) } ". Version " (spec.version) ", "
            (show::ago(edge.now(), view.updated_at)) "."
        }
        (show::done(said.done))
        (show::alert(said.wrong))
        (listening(edge, &visitor.0.scope, spec.id).await?)
        form.card method="post" action={ "/admin/agents/" (spec.id) } {
            h2 { "Settings" }
            (form.fields(Handle::Fixed))
            button.main { "Save" }
        }
        @if !latest.items.is_empty() {
            h2 { "Its latest runs" }
            (table(edge.now(), &latest.items))
            p { a href={ "/admin/runs?agent=" (spec.id) } { "All its runs" } }
        }
    };
    Ok(layout::page(visitor, Section::Agents, &spec.name, &main))
}

async fn listening(edge: &Edge, scope: &Scope, agent: AgentId) -> Result<Markup, Refusal> {
    let integrations = integrations::all(edge, scope).await?;
    let own: Vec<_> = subscriptions::all(edge, scope).await?;
    let own: Vec<_> = own.iter().filter(|own| own.agent == agent).collect();
    Ok(html! {
        section.card {
            h2 { "Listens to" }
            @if own.is_empty() { p.muted { "Nothing yet, so it gets no runs." } }
            ul.plain {
                @for subscription in own {
                    @if let Some(one) = integrations.iter().find(|one| one.id == subscription.integration) {
                        li {
                            span { a href={ "/admin/integrations/" (one.id) } { (one.name) } ": " bdi { (rule(&subscription.rule)) } }
                            form method="post" action={ "/admin/agents/" (agent) "/subscriptions/" (subscription.id) "/end" } {
                                button.link aria-label={ "Stop listening to " (one.name) ": " (rule(&subscription.rule)) } { "Remove" }
                            }
                        }
                    }
                }
            }
            @if integrations.is_empty() {
                p { a href="/admin/integrations" { "Connect a channel" } " first; then choose here what it listens to there." }
            } @else {
                form.row method="post" action={ "/admin/agents/" (agent) "/subscriptions" } {
                    (field::choice("Integration", "integration", &html! { @for one in &integrations { option value=(one.id) { (one.name) } } }))
                    (field::choice("To", "on", &html! {
                        option value="mention" { "mentions of it" }
                        option value="label" { "a label" }
                        option value="any" { "everything" }
                    }))
                    (field("Label", "label", "", "", "only for “a label”"))
                    button { "Add" }
                }
            }
        }
    })
}
