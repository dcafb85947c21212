//! The blocks of messages: what of an answer a provider takes back, and the calls in it.

use std::collections::BTreeSet;

use super::{PendingCall, settled::Settled};
use crate::transcript::{Answer, Block, Message, Role, ToolResult};

pub(super) fn user_text(text: &str) -> Message {
    Message {
        role: Role::User,
        blocks: vec![Block::Text {
            text: text.to_owned(),
        }],
    }
}

pub(super) fn pending(block: &Block) -> Option<(PendingCall, Option<ToolResult>)> {
    let Block::ToolCall(call) = block else {
        return None;
    };
    let pending = PendingCall {
        call: call.clone(),
        started: None,
        decision: None,
    };
    Some((pending, None))
}

/// The blocks of an answer that a provider takes back. It refuses blank text, thinking at the end of a message, results
/// in the model's mouth, and a second call with an id that the transcript has seen: a call has one result.
pub(super) fn valid_blocks(answer: &Answer, before: &Settled) -> Vec<Block> {
    let mut call_ids = BTreeSet::new();
    let keep = |block: &&Block| match block {
        Block::ToolCall(call) => !before.calls(&call.id) && call_ids.insert(call.id.clone()),
        Block::Text { text } => !text.trim().is_empty(),
        Block::ToolResult(_) => false,
        Block::Thinking { .. } | Block::RedactedThinking { .. } => true,
    };
    let mut blocks: Vec<Block> = answer.blocks.iter().filter(keep).cloned().collect();
    while matches!(
        blocks.last(),
        Some(Block::Thinking { .. } | Block::RedactedThinking { .. })
    ) {
        blocks.pop();
    }
    blocks
}
