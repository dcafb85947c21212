//! Arbitrary events and journals.

use proptest::{collection::vec, prelude::*, sample::select};
use roost_shared::{
    AgentId, IntegrationId, MicroUsd, SignalId, UnixMillis, WorkItemId,
    effect::EffectClass,
    event::{Change, Event, EventBody},
    question::{Choice, Decision, Question},
    transcript::{Answer, Block, StopReason, ToolCall, ToolResult, Usage},
    work::{Actor, Conversation, ReplyTo, Trust, WorkItem},
};

pub(crate) fn text(text: &str) -> Block {
    Block::Text { text: text.into() }
}

pub(crate) fn call(id: impl Into<String>) -> Block {
    Block::ToolCall(ToolCall {
        id: id.into(),
        name: "bash".into(),
        input: serde_json::json!({"command": "ls"}),
    })
}

pub(crate) fn answer(blocks: Vec<Block>, stop: StopReason, usage: Usage) -> EventBody {
    EventBody::ModelAnswered(Answer {
        model: "m".into(),
        blocks,
        stop,
        usage,
        cost: MicroUsd(7),
        request_id: None,
        first_byte_ms: 1,
        took_ms: 2,
    })
}

pub(crate) fn finished(call: &str) -> EventBody {
    let result = ToolResult {
        call: call.into(),
        text: format!("result of {call}"),
        is_error: false,
    };
    EventBody::ToolFinished { result, took_ms: 1 }
}

pub(crate) fn any_call_id() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d", "e"]).prop_map(str::to_owned)
}

pub(crate) fn any_block() -> impl Strategy<Value = Block> {
    let stray_result = |call| {
        Block::ToolResult(ToolResult {
            call,
            text: "stray".into(),
            is_error: false,
        })
    };
    prop_oneof![
        2 => select(vec!["", "  \n", "I looked.", "Done."]).prop_map(text),
        1 => Just(Block::Thinking { text: "hm".into(), signature: Some("sig".into()) }),
        1 => Just(Block::RedactedThinking { data: "xyz".into() }),
        3 => any_call_id().prop_map(call),
        1 => any_call_id().prop_map(stray_result),
    ]
}

pub(crate) fn any_answer() -> impl Strategy<Value = EventBody> {
    use StopReason::{ContextExceeded, EndTurn, MaxTokens, PauseTurn, Refusal, StopSequence, ToolUse};
    let stop = select(vec![
        EndTurn,
        ToolUse,
        MaxTokens,
        StopSequence,
        PauseTurn,
        Refusal,
        ContextExceeded,
    ]);
    (vec(any_block(), 0..5), stop, 0..9_u64).prop_map(|(blocks, stop, n)| {
        let usage = Usage {
            input: n,
            output: n + 1,
            cache_read: 2,
            cache_write: 3,
        };
        answer(blocks, stop, usage)
    })
}

pub(crate) fn any_event() -> impl Strategy<Value = EventBody> {
    let class = select(vec![
        EffectClass::Pure,
        EffectClass::Idempotent,
        EffectClass::AtMostOnce,
    ]);
    let compacted = |summary: &str| EventBody::Compacted {
        summary: summary.into(),
        usage: Usage {
            input: 5,
            ..Usage::default()
        },
        cost: MicroUsd(11),
    };
    let session = EventBody::SessionOpened {
        purpose: "bash".into(),
        sprite: "s".into(),
        session: "1".into(),
    };
    let model_failed = EventBody::ModelFailed {
        code: "x".into(),
        message: "x".into(),
        retry_in_ms: None,
        usage: Usage {
            input: 5,
            ..Usage::default()
        },
        cost: MicroUsd(3),
    };
    let (until, reason) = (UnixMillis(1), "x".to_owned());
    let failed = EventBody::Failed {
        code: "x".into(),
        message: "x".into(),
    };
    prop_oneof![
        3 => any_steering(),
        1 => any_waiting(),
        6 => any_answer(),
        3 => (any_call_id(), class).prop_map(|(call, class)| EventBody::ToolStarted { call, class }),
        6 => any_call_id().prop_map(|call| finished(&call)),
        3 => Just(EventBody::Leased { runner: "r".into() }),
        1 => Just(session),
        1 => Just(EventBody::SpriteClaimed { sprite: "s".into() }),
        1 => Just(model_failed),
        1 => select(vec!["", "so far so good"]).prop_map(compacted),
        1 => Just(EventBody::Parked { until, reason: reason.clone() }),
        1 => Just(EventBody::Released { reason }),
        1 => prop_oneof![
            Just(EventBody::Completed { reply: None }),
            Just(failed),
            Just(EventBody::Cancelled { by: "x".into(), reason: None }),
            Just(opened()),
        ],
    ]
}

pub(crate) fn any_signal() -> impl Strategy<Value = SignalId> {
    (0..5_u8).prop_map(|number| SignalId::from_bytes([number; 16]))
}

/// What people say to a run under way, each by a signal that may come twice.
pub(crate) fn any_steering() -> impl Strategy<Value = EventBody> {
    let change = select(vec![Change::Said, Change::Said, Change::Edited, Change::Deleted]);
    let steered = (any_signal(), change).prop_map(|(signal, change)| EventBody::Steered {
        signal,
        change,
        work_item: Box::new(WorkItem {
            text: said(signal),
            ..work_item()
        }),
    });
    let choice = select(vec![
        None,
        Some(Choice::Run),
        Some(Choice::Skip),
        Some(Choice::Done),
    ]);
    let answered = (any_signal(), choice).prop_map(|(signal, choice)| EventBody::Answered {
        signal,
        decision: Decision {
            choice,
            by: "ann".into(),
            text: String::new(),
        },
    });
    prop_oneof![3 => steered, 1 => answered]
}

/// What makes a run wait for a person, and what ends the wait.
pub(crate) fn any_waiting() -> impl Strategy<Value = EventBody> {
    let until = UnixMillis(9);
    let question = |call| Question {
        call,
        text: "?".into(),
        options: vec![Choice::Run, Choice::Skip],
    };
    let resumed = || Just(EventBody::Resumed { by: "ann".into() });
    prop_oneof![
        any_call_id().prop_map(move |call| EventBody::Asked {
            question: question(call),
            until
        }),
        Just(EventBody::Paused {
            by: "ann".into(),
            until
        }),
        Just(EventBody::Poisoned { crashes: 5, until }),
        resumed(),
        resumed(),
    ]
}

/// A text by which a signal's message is found again.
pub(crate) fn said(signal: SignalId) -> String {
    format!("message {signal}")
}

pub(crate) fn opened() -> EventBody {
    EventBody::Opened {
        work_item: Box::new(work_item()),
        agent: AgentId::from_bytes([1; 16]),
        agent_version: 1,
    }
}

pub(crate) fn work_item() -> WorkItem {
    WorkItem {
        id: WorkItemId::from_bytes([1; 16]),
        integration: IntegrationId::from_bytes([2; 16]),
        kind: "message".into(),
        actor: Actor {
            id: "1".into(),
            name: "ann".into(),
            trust: Trust::Member,
        },
        conversation: Conversation {
            key: "1".into(),
            title: String::new(),
            url: None,
        },
        text: "hello".into(),
        context: Vec::new(),
        reply_to: ReplyTo::Generic {
            conversation: "c".to_owned(),
            event: "e".to_owned(),
        },
        received_at: UnixMillis(0),
    }
}

/// A journal that begins as every journal does.
pub(crate) fn journal(rest: Vec<EventBody>) -> Vec<Event> {
    let leased = EventBody::Leased { runner: "r".into() };
    let bodies = [opened(), leased].into_iter().chain(rest);
    bodies
        .zip(0..)
        .map(|(body, seq)| Event {
            seq,
            epoch: 1,
            at: UnixMillis(0),
            body,
        })
        .collect()
}
