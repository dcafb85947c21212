//! The scripted model and its tools: two turns with two calls each, then a reply that says what it was told.
//!
//! Invariant: what it answers follows from what it was sent, so a call that is repeated asks for the same.

use roost_shared::{
    MicroUsd,
    event::EventBody,
    run::RunState,
    transcript::{Answer, Block, StopReason, ToolCall, Usage},
};
use serde_json::json;

/// A tool that nobody may use without a person's word.
pub const BLAST: &str = "blast";
/// Of so many runs, one uses it.
const BLASTING: u8 = 4;

/// What the model answers to a run where it stands.
pub fn answer(state: &RunState) -> EventBody {
    let (blocks, stop) = if state.turns < 2 {
        let dares = state.turns == 1
            && state
                .work_item
                .id
                .to_string()
                .bytes()
                .last()
                .is_some_and(|last| last.is_multiple_of(BLASTING));
        let call = |place: u32| {
            let name = if dares && place == 0 { BLAST } else { "look" };
            Block::ToolCall(ToolCall {
                id: format!("t{}-{place}", state.turns),
                name: name.to_owned(),
                input: json!({}),
            })
        };
        (vec![call(0), call(1)], StopReason::ToolUse)
    } else {
        let text = reply(state);
        (vec![Block::Text { text }], StopReason::EndTurn)
    };
    EventBody::ModelAnswered(Answer {
        model: "scripted".to_owned(),
        blocks,
        stop,
        usage: Usage::default(),
        cost: MicroUsd::default(),
        request_id: None,
        first_byte_ms: 1,
        took_ms: 1,
    })
}

/// What stands in a run's journal when the model takes nobody's key: the run has failed, and a person may let it try again.
pub fn refusal() -> [EventBody; 2] {
    let code = "model_key_refused".to_owned();
    let message = "the provider refuses the key; set a valid one".to_owned();
    let failed = EventBody::ModelFailed {
        code: code.clone(),
        message: message.clone(),
        retry_in_ms: None,
        usage: Usage::default(),
        cost: MicroUsd::default(),
    };
    [failed, EventBody::Failed { code, message }]
}

/// Names its run, and every message as the model last read it.
fn reply(state: &RunState) -> String {
    let mut read = state.work_item.text.clone();
    for message in state.transcript() {
        for block in &message.blocks {
            if let Block::Text { text } = block {
                read.push('\n');
                read.push_str(text);
            }
        }
    }
    let said = read
        .lines()
        .filter_map(|line| Some(line[line.find("please look")?..].trim_end()));
    let said: Vec<&str> = said.collect();
    format!("answer to {}: {}", state.work_item.id, said.join("; "))
}
