//! Signing in with a one-time code, and out.
//!
//! A link with the code only shows the form, filled in; the script sends it. So whoever merely looks at the link, a
//! chat's preview for one, does not use the code up; and the cookie is set by a request of our own page, which
//! `SameSite=Strict` wants.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, StatusCode, header::SET_COOKIE};
use maud::html;
use serde::Deserialize;

use super::{
    layout, show,
    visitor::{Refusal, Visitor},
};
use crate::{auth::session, edge::Edge};

/// What is asked for to sign in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Login {
    code: String,
    next: String,
}

/// `GET /admin/login`.
pub(super) async fn ask(Query(login): Query<Login>) -> Response {
    form(&login, None)
}

/// `POST /admin/login`.
pub(super) async fn sign_in(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, Refusal> {
    match session::sign_in(&edge, &headers, &login.code).await {
        Ok(signed_in) => {
            let cookie = [(SET_COOKIE, signed_in.cookie)];
            Ok((cookie, Redirect::to(own_page(&login.next))).into_response())
        }
        Err(error) if error.status == StatusCode::UNAUTHORIZED => {
            let empty = Login {
                code: String::new(),
                ..login
            };
            let page = form(&empty, Some(&error.problem.message));
            Ok(layout::refused(error.status, page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/logout`.
pub(super) async fn sign_out(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
) -> Result<Response, Refusal> {
    let cookie = [(SET_COOKIE, person.sign_out(&edge).await?)];
    Ok((cookie, Redirect::to("/admin/login")).into_response())
}

/// Where to go after signing in: nowhere but to a page of the admin.
fn own_page(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if plain && next.starts_with("/admin/") && !next.contains("//") {
        next
    } else {
        "/admin/runs"
    }
}

fn form(login: &Login, wrong: Option<&str>) -> Response {
    let main = html! {
        div.card.narrow {
            h1 { "Sign in" }
            p {
                "Where Roost runs, type " code { "roost code" }
                ". It prints a code that is good once, and a link that fills it in."
            }
            (show::alert(wrong))
            form method="post" action="/admin/login" data-submit=[(!login.code.is_empty()).then_some("")] {
                input type="hidden" name="next" value=(login.next);
                div.field {
                    label for="code" { "Code" }
                    input #code name="code" value=(login.code) required autocomplete="off" autocapitalize="off"
                        spellcheck="false" autofocus;
                }
                button.main { "Sign in" }
            }
        }
    };
    layout::outside("Sign in", &main)
}

#[cfg(test)]
mod tests {
    use super::own_page;

    #[test]
    fn signing_in_leads_to_no_other_place() {
        assert_eq!(own_page("/admin/runs/01J?x=1"), "/admin/runs/01J?x=1");
        for elsewhere in [
            "",
            "https://evil.example/admin/",
            "//evil.example/admin/",
            "/admin//evil.example",
            "/admin/\\evil",
            "/admin/\r\nx",
            "/other",
        ] {
            assert_eq!(own_page(elsewhere), "/admin/runs", "{elsewhere:?}");
        }
    }
}
