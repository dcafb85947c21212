//! What is said to a run at work: it reaches the model between two turns, once, and before the run ends.

use std::sync::atomic::Ordering;

use roost_runner::standin::model::{Script, Turn};
use roost_shared::{
    SignalId, UnixMillis, WorkItemId,
    event::{Change, EventBody},
    question::Choice,
    run::Phase,
    wire::{Signal, SignalBody},
    work::WorkItem,
};
use serde_json::{Value, json};

use crate::bench::{Bench, Crash, Memory, run_id};

/// A message that arrives now.
fn message(memory: &Memory, number: u8, change: Change, text: &str) {
    let EventBody::Opened { work_item, .. } = memory.events.lock().unwrap()[0].body.clone() else {
        panic!("a journal begins with `opened`");
    };
    let work_item = Box::new(WorkItem {
        id: WorkItemId::new(UnixMillis(1), [number; 10]),
        text: text.into(),
        ..*work_item
    });
    memory.signal(Signal {
        id: SignalId::new(UnixMillis(1), [number; 10]),
        run: run_id(),
        body: SignalBody::Steer { change, work_item },
    });
}

fn requests(bench: &Bench) -> Vec<Value> {
    let parse = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
    let requests = bench.model.requests();
    requests
        .iter()
        .map(|request| parse(&request.body)["messages"].clone())
        .collect()
}

#[tokio::test]
async fn a_message_is_read_after_the_results_of_the_turn_and_before_the_reply() {
    let bench = Bench::new(Script::turns(vec![
        Turn::call("look", json!({"n": 1})),
        Turn::say("It was blue."),
        Turn::say("It was blue, and the other one red."),
    ]))
    .await;
    let memory = Memory::new();
    message(&memory, 1, Change::Said, "and be quick");
    *memory.late.lock().unwrap() = Some(Box::new(|memory| {
        message(memory, 2, Change::Said, "and the other one?");
    }));
    bench.drive(&memory).await;

    let reply = Some("It was blue, and the other one red.".to_owned());
    assert_eq!(memory.last(), EventBody::Completed { reply });
    let requests = requests(&bench);
    let first = requests[0].to_string();
    assert!(
        first.contains("and be quick") && !first.contains("the other one"),
        "{first}"
    );
    let last = requests[2].as_array().unwrap().last().unwrap().to_string();
    assert!(last.contains("and the other one?"), "{last}");
    assert!(last.contains("Your last text was not posted"), "{last}");
    assert_eq!(
        memory.kinds().iter().filter(|kind| **kind == "steered").count(),
        2
    );
}

/// A person pauses the run and thinks better of it while the runner is about to write the pause.
#[tokio::test]
async fn a_pause_that_was_taken_back_stops_nothing() {
    let bench = Bench::new(Script::turns(vec![Turn::say("Done.")])).await;
    let memory = Memory::new();
    memory.signal(Signal {
        id: SignalId::new(UnixMillis(1), [1; 10]),
        run: run_id(),
        body: SignalBody::Pause { by: "a user".into() },
    });
    *memory.late.lock().unwrap() = Some(Box::new(Memory::take_back));
    bench.drive(&memory).await;
    let reply = Some("Done.".to_owned());
    assert_eq!(
        memory.last(),
        EventBody::Completed { reply },
        "{:?}",
        memory.kinds()
    );
}

#[tokio::test]
async fn an_edit_before_the_first_turn_replaces_the_text() {
    let bench = Bench::new(Script::turns(vec![Turn::say("Done.")])).await;
    let memory = Memory::new();
    memory.change_work_item(|item| {
        item.reply_to = roost_shared::work::ReplyTo::Telegram {
            chat: 1,
            topic: None,
            message: 7,
        };
    });
    message(&memory, 1, Change::Edited, "please paint it green");
    bench.drive(&memory).await;
    let asked = requests(&bench)[0].to_string();
    assert!(
        asked.contains("paint it green") && !asked.contains("please fix it"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_call_in_doubt_is_made_again_only_when_a_person_says_so() {
    for (choice, calls, result) in [
        (Choice::Run, 2, "act done"),
        (Choice::Done, 1, "says that it was done"),
        (Choice::Skip, 1, "It was not run again."),
    ] {
        let bench = Bench::new(Script::turns(vec![
            Turn::call("act", json!({"n": 1})),
            Turn::say("Done."),
        ]))
        .await;
        let memory = Memory::new();
        // The answer, the call's beginning; the process dies with the result.
        *memory.crash.lock().unwrap() = Some((2, Crash::Before));
        bench.drive(&memory).await;
        *memory.crash.lock().unwrap() = None;
        bench.drive(&memory).await;
        let EventBody::Asked { question, .. } = memory.last() else {
            panic!("{:?}", memory.kinds());
        };
        assert!(
            question.text.contains("`act`") && question.text.contains("{\"n\":1}"),
            "{}",
            question.text
        );
        assert_eq!(memory.state().phase, Phase::Waiting);
        memory.answer(choice);
        bench.drive(&memory).await;
        let made: u32 = bench.calls.lock().unwrap().values().sum();
        assert_eq!(made, calls, "{choice:?}");
        let results = memory.results();
        assert!(
            results.len() == 1 && results[0].text.contains(result),
            "{results:?}"
        );
        assert!(memory.appends.load(Ordering::SeqCst) > 3);
    }
}
