//! What a driver knows of an answer before it is journaled: how its calls are to be named, and what it will bring.
//!
//! Invariant: what is said here of an answer is what the fold makes of it once it is journaled.

use std::collections::BTreeSet;

use super::{
    PendingCall, RunState,
    blocks::{pending, valid_blocks},
    settled::Settled,
    stop_without_calls,
};
use crate::transcript::{Answer, Block, StopReason};

impl RunState {
    /// Gives the tool calls of an answer ids that the transcript does not have yet, before it is journaled: some servers leave
    /// them out, or count from 0 in every answer, and no provider takes an id twice.
    pub fn name_calls(&self, answer: &mut Answer) {
        name_calls(answer, &self.settled);
    }

    /// The tool calls that will be pending once `answer` is journaled: a driver may journal the beginning of the first
    /// ones together with the answer.
    pub fn pending_after(&self, answer: &Answer) -> Vec<PendingCall> {
        let blocks = valid_blocks(answer, &self.settled);
        blocks.iter().filter_map(pending).map(|(call, _)| call).collect()
    }

    /// What the run completes with once `answer` is journaled, if the model is done by it: a driver may journal both
    /// together.
    pub fn completed_by(&self, answer: &Answer) -> Option<String> {
        let ends = matches!(
            stop_without_calls(answer),
            StopReason::EndTurn | StopReason::StopSequence
        );
        (ends && self.pending_after(answer).is_empty()).then(|| answer.text())
    }
}

/// Each call gets an id that no call before it has: its own, or one made of it where it is empty or in use.
fn name_calls(answer: &mut Answer, before: &Settled) {
    let mut ids = BTreeSet::new();
    for block in &mut answer.blocks {
        let Block::ToolCall(call) = block else {
            continue;
        };
        if call.id.is_empty() {
            call.id.push_str("call");
        }
        let mut unique = call.id.clone();
        let mut n = 1_u32;
        while before.calls(&unique) || !ids.insert(unique.clone()) {
            n += 1;
            unique = format!("{}_{n}", call.id);
        }
        call.id = unique;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{from_value, json};

    use super::*;
    use crate::transcript::{Message, Role};

    #[test]
    fn ids_of_calls_are_new() {
        let answer = |ids: &[&str]| -> Answer {
            let call = |id: &&str| json!({"type": "tool_call", "id": id, "name": "x", "input": {}});
            let blocks: Vec<_> = ids.iter().map(call).collect();
            from_value(
                json!({"model": "m", "blocks": blocks, "stop": "tool_use", "usage": {}, "cost": 0,
                "first_byte_ms": 0, "took_ms": 0}),
            )
            .unwrap()
        };
        let mut before = Settled::default();
        let (role, blocks) = (Role::Assistant, answer(&["0"]).blocks);
        before.push(Arc::new(Message { role, blocks }));
        let mut named = answer(&["0", "", "", "1"]);
        name_calls(&mut named, &before);
        assert_eq!(named, answer(&["0_2", "call", "call_2", "1"]));
    }
}
