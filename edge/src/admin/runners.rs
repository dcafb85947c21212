//! Runners: who works, when each was last seen, and how another one is started.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use roost_shared::UnixMillis;
use serde::Deserialize;

use super::{
    field::field,
    layout::{self, Section},
    show, text,
    visitor::{Refusal, Visitor, id},
};
use crate::{
    api::{
        runners::{self, PRESENT, RunnerView},
        tokens::{self, NewToken, Purpose, TokenDraft},
    },
    edge::Edge,
};

/// A token as a person asks for it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenForm {
    name: String,
}

/// `GET /admin/runners`.
pub(super) async fn list(State(edge): State<Arc<Edge>>, visitor: Visitor) -> Result<Response, Refusal> {
    page(&edge, &visitor, &TokenForm::default(), &html! {}).await
}

/// `POST /admin/runners/token`: the one page that answers a form itself, since the token is shown only here.
pub(super) async fn make_token(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Form(form): Form<TokenForm>,
) -> Result<Response, Refusal> {
    let draft = TokenDraft {
        purpose: Purpose::Runner,
        name: form.name.clone(),
        days: None,
    };
    match tokens::make(&edge, &visitor.0, draft) {
        Ok(token) => page(&edge, &visitor, &TokenForm::default(), &made(&edge, &token)).await,
        Err(error) if error.status.is_client_error() => {
            let wrong = show::alert(Some(&error.problem.message));
            let page = page(&edge, &visitor, &form, &wrong).await?;
            Ok(layout::refused(error.status, page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/runners/tokens/{id}/revoke`.
pub(super) async fn revoke_token(
    State(edge): State<Arc<Edge>>,
    visitor: Visitor,
    Path(token): Path<String>,
) -> Result<Response, Refusal> {
    tokens::end(&edge, &visitor.0, id(&token, "token")?).await?;
    Ok(Redirect::to("/admin/runners").into_response())
}

fn made(edge: &Edge, token: &NewToken) -> Markup {
    let command = format!(
        "roost runner --edge {} --token {}",
        edge.settings.public_url, token.token
    );
    html! {
        div.done role="status" {
            p { "Start it with this. The token is shown only now:" }
            (show::copyable("runner-command", &command))
            p.muted { "Good until " (show::moment(token.expires_at)) ". Its id, to revoke it: " code { (token.id) } }
        }
    }
}

async fn page(edge: &Edge, visitor: &Visitor, form: &TokenForm, said: &Markup) -> Result<Response, Refusal> {
    let all = runners::all(&visitor.0.scope).await?;
    let now = edge.now();
    let main = html! {
        h1 { "Runners" }
        div #runners data-refresh="5000" {
            @if all.is_empty() {
                p.empty { "No runner has been here yet. A runner is the process that does the work; runs wait until there is one." }
            } @else {
                (table(now, &all))
            }
        }
        section.card {
            h2 { "Start another one" }
            p { "A runner needs a token. It reaches this edge by HTTP; nothing has to reach the runner." }
            (said)
            form.row method="post" action="/admin/runners/token" {
                (field("Name of its machine", "name", &form.name, "", "laptop"))
                button { "Make a token" }
            }
        }
    };
    Ok(layout::page(visitor, Section::Runners, "Runners", &main))
}

fn table(now: UnixMillis, runners: &[RunnerView]) -> Markup {
    html! {
        table.list {
            thead { tr { th { "State" } th { "Name" } th { "Work" } th { "Reached by" } th.number { "Seen" } th { "Token" } } }
            tbody {
                @for runner in runners {
                    tr id={ "runner-" (runner.name) } {
                        td.first { (show::state(presence(now, runner))) }
                        td.wide { bdi { (runner.name) } }
                        td { (text::count(runner.running, "run")) ", room for " (runner.room) }
                        td { @if runner.doorbell.is_some() { "doorbell" } @else { "its own polling" } }
                        td.number { (show::ago(now, runner.seen_at)) }
                        td {
                            @if !runner.revoked {
                                details.confirm {
                                    summary { "Revoke" }
                                    form method="post" action={ "/admin/runners/tokens/" (runner.token) "/revoke" } {
                                        span { "Every runner with this token is shut out." }
                                        button.danger { "Yes, revoke it" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn presence(now: UnixMillis, runner: &RunnerView) -> &'static str {
    if runner.revoked {
        "revoked"
    } else if now.since(runner.seen_at) <= PRESENT {
        "present"
    } else {
        "away"
    }
}
