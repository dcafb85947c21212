//! Splitting a reply into messages the channel takes.

use roost_shared::work::ReplyTo;

/// The reply in pieces, each of which fits one message of the channel.
pub fn split(_to: &ReplyTo, text: &str) -> Vec<String> {
    vec![text.to_owned()]
}
