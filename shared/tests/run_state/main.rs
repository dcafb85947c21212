//! The fold of a journal, over arbitrary journals: whatever happened, in whatever order, the next request to the model is
//! one a provider takes, and no event moves a run where it may not go.
//!
//! The checker below knows the providers' rules and nothing of how the fold keeps them.

mod any;

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};
use roost_shared::{
    MicroUsd, SignalId, UnixMillis,
    effect::EffectClass,
    event::EventBody,
    question::{Choice, Decision, Question},
    run::{INTERRUPTED, Next, Phase, RunState},
    size,
    transcript::{Block, Message, Role, StopReason, Usage},
};

use any::{answer, any_block, any_call_id, any_event, call, finished, journal, said, text};

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
        "cancelled" if alive || from == Phase::Waiting => Some(Phase::Cancelled),
        "paused" if alive => Some(Phase::Waiting),
        "asked" | "poisoned" if running => Some(Phase::Waiting),
        "resumed" if matches!(from, Phase::Waiting | Phase::Parked | Phase::Failed) => Some(Phase::Queued),
        "completed" if running => Some(Phase::Completed),
        "failed" if running => Some(Phase::Failed),
        "parked" if running => Some(Phase::Parked),
        "released" if running => Some(Phase::Queued),
        "sprite_claimed" | "session_opened" | "model_answered" | "model_failed" | "tool_started"
        | "tool_finished" | "compacted" | "steered" | "answered"
            if running =>
        {
            Some(Phase::Running)
        }
        _ => None,
    }
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
    fn what_is_said_is_read_once_and_by_the_next_answer_at_the_latest(rest in vec(any_event(), 0..40)) {
        let events = journal(rest);
        let mut state = RunState::fold(&events[..1]).unwrap();
        let mut unread = BTreeSet::new();
        let mut known = BTreeSet::new();
        for event in &events[1..] {
            let counts = legal(state.phase, event.body.kind()).is_some();
            state.apply(&event.body);
            match &event.body {
                EventBody::Steered { signal, .. } | EventBody::Answered { signal, .. } if counts => {
                    let is_new = known.insert(*signal);
                    if is_new && matches!(event.body, EventBody::Steered { .. }) {
                        unread.insert(*signal);
                        prop_assert!(!matches!(state.next(), Next::Complete(_) | Next::Refused(_)));
                    }
                }
                EventBody::ModelAnswered(_) if counts => unread.clear(),
                _ => {}
            }
            let whole = format!("{:?}", conversation(&state));
            for signal in &unread {
                prop_assert_eq!(whole.matches(&said(*signal)).count(), 1, "{:?}", event.body);
            }
            prop_assert!(known.iter().all(|signal| whole.matches(&said(*signal)).count() <= 1));
        }
    }

    #[test]
    fn what_has_settled_stays_as_it_is_and_is_counted(rest in vec(any_event(), 0..40)) {
        let events = journal(rest);
        let mut state = RunState::fold(&events[..1]).unwrap();
        for event in &events[1..] {
            let (settled, before) = (state.settled().0, state.transcript());
            state.apply(&event.body);
            let ((count, bytes), now) = (state.settled(), state.transcript());
            prop_assert_eq!(bytes, now[..count].iter().map(|message| size::of_message(message)).sum::<usize>());
            if !matches!(event.body, EventBody::Compacted { .. }) {
                prop_assert_eq!(&now[..settled], &before[..settled]);
            }
        }
    }

    #[test]
    fn a_decision_is_good_for_one_beginning(choice in select(vec![Choice::Run, Choice::Skip, Choice::Done])) {
        let question = Question { call: "a".into(), text: "?".into(), options: vec![Choice::Run, Choice::Skip] };
        let started = || EventBody::ToolStarted { call: "a".into(), class: EffectClass::AtMostOnce };
        let signal = SignalId::from_bytes([1; 16]);
        let decision = Decision { choice: Some(choice), by: "ann".into(), text: String::new() };
        let mut state = RunState::fold(&journal(vec![
            answer(vec![call("a")], StopReason::ToolUse, Usage::default()),
            started(),
            EventBody::Asked { question, until: UnixMillis(9) },
            EventBody::Resumed { by: "ann".into() },
            EventBody::Leased { runner: "r".into() },
            EventBody::Answered { signal, decision },
        ])).unwrap();
        let decided = |state: &RunState| match state.next() {
            Next::RunTools(calls) => calls[0].decision.as_ref().map(|decision| decision.choice),
            other => panic!("{other:?}"),
        };
        let offered = Some(choice).filter(|choice| *choice != Choice::Done);
        prop_assert_eq!(decided(&state), Some(offered), "only what was offered counts");
        state.apply(&started());
        prop_assert_eq!(decided(&state), None);
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
fn a_failed_run_goes_on_where_it_stood_and_is_tried_as_often_as_before() {
    let failing = || EventBody::ModelFailed {
        code: "x".into(),
        message: "x".into(),
        retry_in_ms: None,
        usage: Usage::default(),
        cost: MicroUsd(0),
    };
    let mut state = RunState::fold(&journal(vec![
        answer(vec![call("a")], StopReason::ToolUse, Usage::default()),
        finished("a"),
        failing(),
        failing(),
    ]))
    .unwrap();
    let before = state.clone();
    for event in [
        EventBody::Failed {
            code: "x".into(),
            message: "x".into(),
        },
        EventBody::Resumed { by: "ann".into() },
        EventBody::Leased { runner: "r".into() },
    ] {
        state.apply(&event);
    }
    assert_eq!((before.model_failures, state.model_failures), (2, 0));
    assert_eq!(
        (state.next(), state.transcript()),
        (Next::CallModel, before.transcript())
    );
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
