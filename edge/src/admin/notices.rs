//! What waits for a person, at the top of the lists.

use maud::{Markup, html};

use super::{layout, show, visitor::Refusal};
use crate::{api::notices, auth::session::Person, edge::Edge};

/// The notices, each with a link to where it is mended; nothing when there are none.
pub(super) async fn section(edge: &Edge, person: &Person) -> Result<Markup, Refusal> {
    let notices = notices::all(edge, person).await?;
    Ok(html! {
        @if !notices.is_empty() {
            div.alert role="alert" {
                @for notice in &notices {
                    p {
                        (layout::sentence(&notice.message)) " "
                        @match (&notice.integration, notice.kind) {
                            (Some(integration), _) => a href={ "/admin/integrations/" (integration.id) } {
                                "Open " (integration.name)
                            },
                            (None, "no_runner") => a href="/admin/runners" { "Show the runners" },
                            (None, "runs_wait") => a href="/admin/runs?phase=waiting" { "Show the runs" },
                            (None, _) => a href="/admin/effects?state=unknown" { "Show the replies" },
                        }
                        @if let Some(since) = notice.since { " " span.muted { (show::ago(edge.now(), since)) } }
                    }
                }
            }
        }
    })
}
