//! Effects: what becomes visible outside, and what a tool may do to the world.

use serde::{Deserialize, Serialize};

use crate::work::ReplyTo;

/// One visible act in a channel; one effect is one call of the channel's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effect {
    /// A sign that the message was received: 👀 on GitHub, "typing…" on Telegram.
    Acknowledge {
        /// What to acknowledge.
        to: ReplyTo,
    },
    /// A reply.
    Reply {
        /// Where to.
        to: ReplyTo,
        /// Markdown, short enough for one message of the channel.
        text: String,
    },
}

/// What repeating a tool call would do; decides what happens to a call that was under way when its runner died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Changes nothing: repeat it.
    Pure,
    /// Changes something, but twice is the same as once: repeat it with the same key.
    Idempotent,
    /// Must not happen twice: in doubt, look whether it happened, else ask a person.
    AtMostOnce,
    /// Like [`AtMostOnce`](Self::AtMostOnce), and not even once before a person says yes.
    NeedsApproval,
}
