//! The fields of forms: a name, a control, and what helps to fill it in, each tied to the other.
//!
//! Invariant: no control that takes a secret is ever filled in, but with one that was made up for this very page.

use maud::{Markup, html};

/// What the form is for.
pub(super) enum Purpose<'a> {
    /// A new one, with a secret that could be taken.
    Create(&'a str),
    /// To be corrected before it is created.
    Correct,
    /// One there is: secrets left empty stay.
    Edit,
}

/// A line of open text.
pub(super) fn field(label: &str, name: &str, value: &str, hint: &str, example: &str) -> Markup {
    let (id, hint_id) = ids(name);
    let control = html! {
        input id=(id) name=(name) value=(value) placeholder=(example) aria-describedby=[described(hint, &hint_id)]
            autocomplete="off" autocapitalize="off" spellcheck="false";
    };
    framed(label, name, hint, &control)
}

/// Several lines of open text.
pub(super) fn lines(label: &str, name: &str, value: &str, hint: &str, example: &str) -> Markup {
    let (id, hint_id) = ids(name);
    let control = html! {
        textarea id=(id) name=(name) rows="6" placeholder=(example) aria-describedby=[described(hint, &hint_id)] { (value) }
    };
    framed(label, name, hint, &control)
}

/// A number.
pub(super) fn number(label: &str, name: &str, value: &str, mode: &str) -> Markup {
    let control =
        html! { input id=(ids(name).0) name=(name) value=(value) inputmode=(mode) autocomplete="off"; };
    framed(label, name, "", &control)
}

/// One of some options.
pub(super) fn choice(label: &str, name: &str, options: &Markup) -> Markup {
    let control = html! { select id=(ids(name).0) name=(name) { (options) } };
    framed(label, name, "", &control)
}

/// A secret that both sides choose: a new integration gets one to take.
pub(super) fn secret(label: &str, name: &str, hint: &str, purpose: &Purpose<'_>) -> Markup {
    let Purpose::Create(suggestion) = purpose else {
        return hidden(label, name, hint, "", purpose);
    };
    let (id, hint_id) = ids(name);
    let control = html! {
        span.copyable {
            input id=(id) name=(name) value=(suggestion) aria-describedby=(hint_id) autocomplete="off" spellcheck="false";
            button type="button" data-copy=(id) { "Copy" }
        }
    };
    let hint = format!("{hint} This one was made up for you. Copy it now: it is not shown again.");
    framed(label, name, &hint, &control)
}

/// A secret of one line that one side gives.
pub(super) fn hidden(label: &str, name: &str, hint: &str, example: &str, purpose: &Purpose<'_>) -> Markup {
    let (id, hint_id) = ids(name);
    let hint = kept(hint, purpose);
    let control = html! {
        input id=(id) type="password" name=(name) placeholder=(example) aria-describedby=[described(&hint, &hint_id)]
            autocomplete="new-password";
    };
    framed(label, name, &hint, &control)
}

/// A secret of several lines.
pub(super) fn hidden_text(label: &str, name: &str, example: &str, purpose: &Purpose<'_>) -> Markup {
    let (id, hint_id) = ids(name);
    let hint = kept("", purpose);
    let control = html! {
        textarea id=(id) name=(name) rows="3" placeholder=(example) aria-describedby=[described(&hint, &hint_id)]
            autocomplete="off" spellcheck="false" {}
    };
    framed(label, name, &hint, &control)
}

fn kept(hint: &str, purpose: &Purpose<'_>) -> String {
    let note = match purpose {
        Purpose::Create(_) => "",
        Purpose::Correct => "Enter it again: secrets are not kept in a page.",
        Purpose::Edit => "Empty: the one stored stays.",
    };
    format!("{hint} {note}").trim().to_owned()
}

fn ids(name: &str) -> (String, String) {
    (format!("field-{name}"), format!("hint-{name}"))
}

fn described<'a>(hint: &str, id: &'a str) -> Option<&'a str> {
    (!hint.is_empty()).then_some(id)
}

fn framed(label: &str, name: &str, hint: &str, control: &Markup) -> Markup {
    let (id, hint_id) = ids(name);
    html! {
        div.field {
            label for=(id) { (label) }
            (control)
            @if !hint.is_empty() { small id=(hint_id) { (hint) } }
        }
    }
}
