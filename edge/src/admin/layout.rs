//! The frame around every page.

use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::{assets, visitor::Visitor};
use crate::error::ApiError;

/// The places of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Runs,
    Deliveries,
    Effects,
    Agents,
    Integrations,
    Runners,
}

impl Section {
    const ALL: [Self; 6] = [
        Self::Runs,
        Self::Deliveries,
        Self::Effects,
        Self::Agents,
        Self::Integrations,
        Self::Runners,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Runs => "Runs",
            Self::Deliveries => "Deliveries",
            Self::Effects => "Effects",
            Self::Agents => "Agents",
            Self::Integrations => "Integrations",
            Self::Runners => "Runners",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Runs => "/admin/runs",
            Self::Deliveries => "/admin/deliveries",
            Self::Effects => "/admin/effects",
            Self::Agents => "/admin/agents",
            Self::Integrations => "/admin/integrations",
            Self::Runners => "/admin/runners",
        }
    }
}

/// A page of the admin.
pub(super) fn page(visitor: &Visitor, section: Section, title: &str, main: &Markup) -> Response {
    let person = &visitor.0;
    let top = html! {
        nav aria-label="Main" {
            @for place in Section::ALL {
                a href=(place.path()) aria-current=[(place == section).then_some("page")] { (place.name()) }
            }
        }
        form.who method="post" action="/admin/logout" {
            span { bdi { (person.name()) } " · " bdi { (person.scope.workspace()) } }
            button.link { "Sign out" }
        }
    };
    frame(title, &top, main)
}

/// The same page with another status, where what was sent could not be done.
pub(super) fn refused(status: StatusCode, page: Response) -> Response {
    (status, page).into_response()
}

/// A page for somebody who is not signed in.
pub(super) fn outside(title: &str, main: &Markup) -> Response {
    frame(title, &html! {}, main)
}

/// The page that says what is wrong and where to go on.
pub(super) fn problem(error: &ApiError) -> Response {
    let title = match error.status {
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::FORBIDDEN => "This was not done",
        StatusCode::CONFLICT => "Something changed in between",
        status if status.is_server_error() => "Roost can't do this right now",
        _ => "This could not be done",
    };
    let main = html! {
        div.card.narrow {
            h1 { (title) }
            p { (sentence(&error.problem.message)) }
            p.muted { code { (error.problem.code) } }
            p { a href="/admin/runs" { "Go to the runs" } }
        }
    };
    outside(title, &main)
}

/// A message of an error as a sentence of a page; what it sets in backticks is code.
pub(super) fn sentence(message: &str) -> Markup {
    let mut characters = message.chars();
    let first = characters
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    let end = if message.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    let sentence = format!("{first}{}{end}", characters.as_str());
    html! {
        @for (at, part) in sentence.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn frame(title: &str, top: &Markup, main: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Roost" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.url());
                link rel="stylesheet" href=(assets::STYLE.url());
                script src=(assets::SCRIPT.url()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/admin/runs" { "Roost" }
                    (top)
                }
                main #main tabindex="-1" { (main) }
            }
        }
    };
    Html(page.into_string()).into_response()
}
