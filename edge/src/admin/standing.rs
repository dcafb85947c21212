//! How an integration stands: whether it is enabled, whether it sends, and whether its channel's deliveries were missed.
//!
//! Invariant: whatever is wrong is said with what to do about it.

use maud::{Markup, html};

use super::{layout, show, text};
use crate::{api::integrations::IntegrationView, edge::Edge};

/// Whether it is enabled, and whether it sends.
pub(super) fn standing(one: &IntegrationView) -> Markup {
    html! {
        @if one.enabled && one.sending.paused_at.is_some() { (show::state("paused")) } @else { (enabled(one.enabled)) }
    }
}

/// That sending is paused, and the button that resumes it; or that it has begun to fail.
pub(super) fn sending(edge: &Edge, one: &IntegrationView) -> Markup {
    let sending = &one.sending;
    let reason = sending.reason.as_deref().map(layout::sentence);
    html! {
        @if let (Some(since), true) = (sending.paused_at, one.enabled) {
            div.alert role="alert" {
                p {
                    "Sending is paused since " (show::moment(since)) ": " (reason.unwrap_or_default())
                    @if let Some(code) = &sending.code { " " code.muted { (code) } }
                }
                p { "What is said in the channel still comes in; replies wait, none is lost. Mend what is wrong, then:" }
                form method="post" action={ "/admin/integrations/" (one.id) "/resume" } { button { "Resume sending" } }
            }
        } @else if let Some(since) = sending.failing_since {
            p.alert {
                (text::count(sending.failures, "attempt")) " to send failed in a row, the first "
                (show::ago(edge.now(), since)) ". " (reason.unwrap_or_default())
                " It goes on trying; if it lasts, sending is paused and you are told."
            }
        }
    }
}

/// What the last look for missed deliveries found.
pub(super) fn swept(edge: &Edge, one: &IntegrationView) -> Markup {
    let Some(report) = one.sweep.as_ref().filter(|_| one.enabled) else {
        return html! {};
    };
    let now = edge.now();
    html! {
        @if let Some(warning) = &report.warning { p.alert role="alert" { (layout::sentence(warning)) } }
        p.muted {
            "Missed deliveries were looked for " (show::ago(now, report.at))
            @match report.pending {
                Some(0) => ": Telegram has delivered everything. ",
                Some(pending) => { ": Telegram still has " (text::count(pending, "update")) " to deliver. " },
                None if report.hint.is_some() || report.warning.is_some() => ". ",
                None if report.brought_in == 0 => ": nothing was missing. ",
                None => { ": " (text::number(report.brought_in)) " of " (text::number(report.looked_at)) " were brought in. " },
            }
            @if report.lost > 0 { (text::number(report.lost)) " could not be had any more. " }
            @if let (Some(at), 0) = (report.brought_in_at, report.brought_in) {
                "The last that were brought in came " (show::ago(now, at)) ". "
            }
            @if let Some(at) = report.webhook_set_at { "Telegram was told where updates go " (show::ago(now, at)) ". " }
            @if let Some(hint) = &report.hint { (layout::sentence(hint)) }
        }
    }
}

/// Whether something is enabled, as a state.
pub(super) fn enabled(enabled: bool) -> Markup {
    show::state(if enabled { "enabled" } else { "disabled" })
}
