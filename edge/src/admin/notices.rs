//! What waits for a person, at the top of the lists.

use maud::{Markup, html};

use super::{layout, show, visitor::Refusal};
use crate::{api::notices, auth::session::Person, edge::Edge};

/// The notices, each with a link to where it is mended; nothing when there are none.
pub(super) async fn section(edge: &Edge, person: &Person) -> Result<Markup, Refusal> {
    let notices = notices::all(edge, person).await?;
    Ok(html! {
        @for notice in &notices {
            p.alert role="alert" {
                (layout::sentence(&notice.message)) " "
                @match &notice.integration {
                    Some(integration) => a href={ "/admin/integrations/" (integration.id) } { "To " (integration.name) },
                    None => a href="/admin/effects?state=unknown" { "Show them" },
                }
                @if let Some(since) = notice.since { " " span.muted { "Since " (show::moment(since)) "." } }
            }
        }
    })
}
