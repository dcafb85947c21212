//! What a run is told between two turns, as the model reads it.

use std::sync::Arc;

use super::blocks::user_text;
use crate::{
    event::Change,
    outside::{quote, who},
    transcript::Message,
    work::WorkItem,
};

/// Where the model had just said its last word: nobody has read it.
const UNPOSTED: &str = "Your last text was not posted, because this came before it. What of it still matters belongs into your \
     next reply.";

/// Whether the model had just ended its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastWord {
    /// It had, with a text that would have been the reply.
    Unposted,
    /// It is at work.
    None,
}

/// A further message, or what became of one, as a message in the user's role.
pub(super) fn told(change: Change, item: &WorkItem, last: LastWord) -> Arc<Message> {
    let mut text = match change {
        Change::Said => format!("Since then a further message came ({}):", item.kind),
        Change::Edited => "Since then a message was edited. It reads now:".to_owned(),
        Change::Deleted => {
            "Since then this message was deleted. Do nothing more of what it alone asked for; if \
             nothing else is left to do, leave things in order and say in one sentence what you had done:"
                .to_owned()
        }
    };
    let label = format!("message from {}", who(&item.actor));
    quote(&mut text, item.id, &label, &item.text);
    if change == Change::Said {
        for context in &item.context {
            let by = context
                .by
                .as_ref()
                .map_or_else(String::new, |by| format!(", by {}", who(by)));
            quote(
                &mut text,
                item.id,
                &format!("{}{by}", context.label),
                &context.text,
            );
        }
    }
    if last == LastWord::Unposted {
        text.push_str("\n\n");
        text.push_str(UNPOSTED);
    }
    Arc::new(user_text(&text))
}
