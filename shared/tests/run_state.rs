//! The fold of a journal, over arbitrary journals: whatever happened, in whatever order, the next request to the model is
//! one a provider takes, and no event moves a run where it may not go.
//!
//! The checker below knows the providers' rules and nothing of how the fold keeps them.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};
use roost_shared::{
    AgentId, IntegrationId, MicroUsd, UnixMillis, WorkItemId,
    effect::EffectClass,
    event::{Event, EventBody},
    run::{INTERRUPTED, Next, Phase, RunState},
    transcript::{Answer, Block, Message, Role, StopReason, ToolCall, ToolResult, Usage},
    work::{Actor, Conversation, ReplyTo, Trust, WorkItem},
};

/// What a provider says of a conversation, after it has joined neighbours of one role into one message.
fn refusal(messages: &[Message]) -> Option<String> {
    let mut joined: Vec<Message> = Vec::new();
    for message in messages {
        match joined.last_mut() {
            Some(last) if last.role == message.role => last.blocks.extend(message.blocks.iter().cloned()),
            _ => joined.push(message.clone()),
        }
    }
    if joined.first().is_none_or(|first| first.role != Role::User) {
        return Some("the first message is not the user's".into());
    }
    let mut ids = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    for (at, message) in joined.iter().enumerate() {
        let mut results: Vec<String> = Vec::new();
        let mut calls: Vec<String> = Vec::new();
        let mut other_seen = false;
        if message.blocks.is_empty() {
            return Some(format!("message {at} is empty"));
        }
        for block in &message.blocks {
            match (message.role, block) {
                (_, Block::Text { text }) if text.trim().is_empty() => {
                    return Some(format!("message {at} has blank text"));
                }
                (_, Block::Text { .. }) => other_seen = true,
                (Role::User, Block::ToolResult(_)) if other_seen => {
                    return Some(format!("message {at} has a result after something else"));
                }
                (Role::User, Block::ToolResult(result)) => results.push(result.call.clone()),
                (Role::Assistant, Block::ToolCall(call)) => {
                    if !ids.insert(call.id.clone()) {
                        return Some(format!("the call id {} is there twice", call.id));
                    }
                    calls.push(call.id.clone());
                }
                (Role::Assistant, Block::Thinking { .. } | Block::RedactedThinking { .. }) => {}
                (role, block) => return Some(format!("message {at} of {role:?} has {block:?}")),
            }
        }
        let thinks_last = matches!(
            message.blocks.last(),
            Some(Block::Thinking { .. } | Block::RedactedThinking { .. })
        );
        if thinks_last {
            return Some(format!("message {at} ends in thinking"));
        }
        results.sort();
        open.sort();
        if results != open {
            return Some(format!("message {at} answers {results:?}, asked was {open:?}"));
        }
        open = calls;
    }
    (!open.is_empty()).then(|| format!("the calls {open:?} have no results"))
}

fn conversation(state: &RunState) -> Vec<Message> {
    let opening = Message {
        role: Role::User,
        blocks: vec![text("do the work")],
    };
    let rest = state.transcript();
    std::iter::once(opening)
        .chain(rest.iter().map(|message| (**message).clone()))
        .collect()
}

/// Where an event may take a run, written down a second time.
fn legal(from: Phase, kind: &str) -> Option<Phase> {
    let alive = matches!(from, Phase::Queued | Phase::Running | Phase::Parked);
    let running = from == Phase::Running;
    match kind {
        "leased" if alive => Some(Phase::Running),
        "cancelled" if alive => Some(Phase::Cancelled),
        "completed" if running => Some(Phase::Completed),
        "failed" if running => Some(Phase::Failed),
        "parked" if running => Some(Phase::Parked),
        "released" if running => Some(Phase::Queued),
        "sprite_claimed" | "session_opened" | "model_answered" | "model_failed" | "tool_started"
        | "tool_finished" | "compacted"
            if running =>
        {
            Some(Phase::Running)
        }
        _ => None,
    }
}

fn text(text: &str) -> Block {
    Block::Text { text: text.into() }
}

fn call(id: impl Into<String>) -> Block {
    Block::ToolCall(ToolCall {
        id: id.into(),
        name: "bash".into(),
        input: serde_json::json!({"command": "ls"}),
    })
}

fn answer(blocks: Vec<Block>, stop: StopReason, usage: Usage) -> EventBody {
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

fn finished(call: &str) -> EventBody {
    let result = ToolResult {
        call: call.into(),
        text: format!("result of {call}"),
        is_error: false,
    };
    EventBody::ToolFinished { result, took_ms: 1 }
}

fn any_call_id() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d", "e"]).prop_map(str::to_owned)
}

fn any_block() -> impl Strategy<Value = Block> {
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

fn any_answer() -> impl Strategy<Value = EventBody> {
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

fn any_event() -> impl Strategy<Value = EventBody> {
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

fn opened() -> EventBody {
    let work_item = WorkItem {
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
    };
    EventBody::Opened {
        work_item: Box::new(work_item),
        agent: AgentId::from_bytes([1; 16]),
        agent_version: 1,
    }
}

/// A journal that begins as every journal does.
fn journal(rest: Vec<EventBody>) -> Vec<Event> {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_journal_yields_a_request_that_a_provider_takes(rest in vec(any_event(), 0..30)) {
        let events = journal(rest);
        for end in 2..=events.len() {
            let state = RunState::fold(&events[..end]).unwrap();
            let messages = conversation(&state);
            prop_assert_eq!(refusal(&messages), None, "after {:?}: {:#?}", events[end - 1].body, messages);
            if state.next() == Next::CallModel {
                prop_assert_eq!(messages.last().unwrap().role, Role::User);
            }
        }
    }

    #[test]
    fn folding_all_at_once_is_folding_in_parts(rest in vec(any_event(), 0..30), cut in 1_usize..32) {
        let events = journal(rest);
        let cut = cut.min(events.len());
        let mut parts = RunState::fold(&events[..cut]).unwrap();
        for event in &events[cut..] {
            parts.apply(&event.body);
        }
        prop_assert_eq!(&parts, &RunState::fold(&events).unwrap());
        prop_assert_eq!(parts.next_seq, events.len() as u64);
    }

    #[test]
    fn only_legal_events_count(rest in vec(any_event(), 0..30)) {
        let events = journal(rest);
        let mut state = RunState::fold(&events[..1]).unwrap();
        let (mut cost, mut usage) = (MicroUsd(0), Usage::default());
        for event in &events[1..] {
            let mut before = state.clone();
            state.apply(&event.body);
            if let Some(phase) = legal(before.phase, event.body.kind()) {
                prop_assert_eq!(state.phase, phase);
                cost = cost + event.body.cost();
                usage = usage + event.body.usage();
            } else {
                before.next_seq += 1;
                prop_assert_eq!(&state, &before, "{:?} was not to change anything", event.body);
            }
            prop_assert_eq!(state.next() == Next::Rest, state.phase != Phase::Running);
        }
        prop_assert_eq!((state.cost, state.usage), (cost, usage));
    }

    #[test]
    fn the_tools_to_run_are_those_without_a_result(
        blocks in vec(any_block(), 1..6),
        answered in vec(any_call_id(), 0..4),
    ) {
        let call_of = |block: &Block| match block {
            Block::ToolCall(call) => Some(call.id.clone()),
            _ => None,
        };
        let mut expected: BTreeSet<String> = blocks.iter().filter_map(call_of).collect();
        let mut state =
            RunState::fold(&journal(vec![answer(blocks, StopReason::ToolUse, Usage::default())])).unwrap();
        for call in &answered {
            state.apply(&finished(call));
            expected.remove(call);
        }
        let left: BTreeSet<String> = match state.next() {
            Next::RunTools(calls) => calls.into_iter().map(|pending| pending.call.id).collect(),
            _ => BTreeSet::new(),
        };
        prop_assert_eq!(left, expected);
    }
}

#[test]
fn a_torn_call_is_answered_in_its_place() {
    let calls = vec![call("a"), call("b")];
    let asked = answer(calls, StopReason::ToolUse, Usage::default());
    let state = RunState::fold(&journal(vec![asked, finished("b")])).unwrap();
    let transcript = state.transcript();
    let results: Vec<&str> = transcript[1]
        .blocks
        .iter()
        .map(|block| match block {
            Block::ToolResult(result) => result.text.as_str(),
            other => panic!("{other:?} among the results"),
        })
        .collect();
    assert_eq!(results, [INTERRUPTED, "result of b"]);
}
