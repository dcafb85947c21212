//! The conversation that a request carries: the opening, what followed it by the run's journal, and what is said last.
//!
//! Invariant: it begins with the user and neighbours have different roles; its size is that of its messages, of which those
//! that have settled in the journal are not looked at for it.

use std::sync::Arc;

use roost_shared::{run::RunState, size, transcript::Message};

/// A conversation, as a model is sent it.
pub(super) struct Conversation {
    messages: Vec<Arc<Message>>,
    bytes: usize,
}

impl Conversation {
    /// One of which there is only the opening.
    pub(super) fn new(opening: Message) -> Self {
        Self {
            bytes: size::of_message(&opening),
            messages: vec![Arc::new(opening)],
        }
    }

    /// What `state` has of it follows.
    pub(super) fn so_far(mut self, state: &RunState) -> Self {
        let transcript = state.transcript();
        let (settled, bytes) = state.settled();
        let unsettled = transcript[settled..].iter();
        self.bytes += bytes + unsettled.map(|message| size::of_message(message)).sum::<usize>();
        self.messages.reserve(transcript.len());
        for message in transcript {
            self.put(message);
        }
        self
    }

    /// One more message follows.
    pub(super) fn then(mut self, message: Message) -> Self {
        self.bytes += size::of_message(&message);
        self.put(Arc::new(message));
        self
    }

    /// Its messages, and what they take in bytes.
    pub(super) fn into_parts(self) -> (Vec<Arc<Message>>, usize) {
        (self.messages, self.bytes)
    }

    fn put(&mut self, message: Arc<Message>) {
        match self.messages.last_mut() {
            Some(last) if last.role == message.role => {
                Arc::make_mut(last).blocks.extend(message.blocks.iter().cloned());
            }
            _ => self.messages.push(message),
        }
    }
}
