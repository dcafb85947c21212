//! The part of a transcript that stays as it is, whatever comes, until a summary replaces it.
//!
//! Invariant: its size and the ids of its calls are those of its messages; they are taken once, when a message comes to it, so
//! that a long run does not go through all it has behind it at every turn.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    size,
    transcript::{Block, Message},
};

/// Messages that stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Settled {
    messages: Vec<Arc<Message>>,
    bytes: usize,
    call_ids: BTreeSet<String>,
}

impl Settled {
    pub(super) fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// What they take, by [`size::of_message`].
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one of them has a call of this id.
    pub(super) fn calls(&self, id: &str) -> bool {
        self.call_ids.contains(id)
    }

    pub(super) fn push(&mut self, message: Arc<Message>) {
        self.bytes += size::of_message(&message);
        let ids = message.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call.id.clone()),
            _ => None,
        });
        self.call_ids.extend(ids);
        self.messages.push(message);
    }
}
