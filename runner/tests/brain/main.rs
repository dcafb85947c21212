//! The loop against the stand-in model, with a journal in memory that can fail at any append.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
mod edges;
mod limits;
mod own_sprite;
mod shell;
mod told;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use roost_runner::{
    model::ModelSettings,
    standin::model::{Fault, Script, Turn},
    worker::{Control, Drain, Driver},
};
use roost_shared::{
    MicroUsd, SignalId, UnixMillis,
    agent::RunLimits,
    effect::EffectClass,
    event::EventBody,
    question::Choice,
    run::Phase,
    transcript::Usage,
    wire::{Signal, SignalBody},
};
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};

use bench::{Bench, Counter, Crash, Memory, RANDOM, run_id};

fn work() -> Script {
    Script::turns(vec![
        Turn::call("look", json!({"n": 1}))
            .and_call("look", json!({"n": 2}))
            .and_call("act", json!({"n": 3})),
        Turn::say("Next.")
            .and_call("act", json!({"n": 4}))
            .and_call("look", json!({"n": 5})),
        Turn::say("All done."),
    ])
}

#[tokio::test]
async fn a_run_thinks_works_and_completes_with_as_few_appends_as_there_are_steps() {
    let bench = Bench::new(work()).await;
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(
        memory.last(),
        EventBody::Completed {
            reply: Some("All done.".into())
        }
    );
    assert_eq!(
        memory.kinds()[2..],
        [
            "model_answered",
            "tool_started",
            "tool_started",
            "tool_finished",
            "tool_finished",
            "tool_started",
            "tool_finished",
            "model_answered",
            "tool_started",
            "tool_finished",
            "tool_started",
            "tool_finished",
            "model_answered",
            "completed",
        ]
    );
    // Two turns of two steps: an append for each beginning, and one before the sprite is made. The first turn's last result
    // has one of its own; the second's goes with the last answer and the completion, if the model is quick enough.
    let appends = memory.appends.load(Ordering::SeqCst);
    assert!((7..=8).contains(&appends), "{appends}");
    assert_eq!(
        bench.calls.lock().unwrap().values().copied().collect::<Vec<_>>(),
        [1; 5]
    );
}

#[tokio::test]
async fn a_crash_at_any_append_repeats_no_recorded_answer_and_no_call_that_must_not_be_repeated() {
    for crash in [Crash::Before, Crash::After] {
        for at in 0..9 {
            let bench = Bench::new(work()).await;
            let memory = Memory::new();
            *memory.crash.lock().unwrap() = Some((at, crash));
            bench.drive(&memory).await;
            let answers_before = memory
                .kinds()
                .iter()
                .filter(|kind| **kind == "model_answered")
                .count();
            let asked_before = bench.model.requests().len();
            *memory.crash.lock().unwrap() = None;
            // A run that has ended is leased to nobody.
            if !memory.state().phase.is_terminal() {
                bench.drive(&memory).await;
            }
            let asked = memory.state().phase == Phase::Waiting;
            if asked {
                memory.answer(Choice::Skip);
                bench.drive(&memory).await;
            }

            let case = format!("crash {crash:?} append {at}: {:?}", memory.kinds());
            assert_eq!(
                memory.last(),
                EventBody::Completed {
                    reply: Some("All done.".into())
                },
                "{case}"
            );
            let asked_after = bench.model.requests().len() - asked_before;
            assert_eq!(
                asked_after,
                3 - answers_before,
                "each recorded answer is asked for once; {case}"
            );
            let acted = memory
                .results()
                .iter()
                .filter(|result| result.text == "act done")
                .count();
            let torn = memory
                .results()
                .iter()
                .filter(|result| result.text.contains("It was not run again."))
                .count();
            assert_eq!((acted + torn, torn == 1), (2, asked), "{case}");
            let calls = bench.calls.lock().unwrap();
            let twice: Vec<_> = calls.iter().filter(|(_, times)| **times > 1).collect();
            assert!(
                twice.len() <= 2,
                "only looks of one step are repeated: {twice:?}; {case}"
            );
            assert_eq!(memory.state().turns, 3, "{case}");
        }
    }
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_written_down() {
    let bench = Bench::new(work()).await;
    bench.model.fail_next(Fault::Overloaded);
    bench.model.fail_next(Fault::Cut { after: 700 });
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(
        memory.kinds()[2..5],
        ["model_failed", "model_failed", "model_answered"]
    );
    assert!(matches!(memory.last(), EventBody::Completed { .. }));
    let events = memory.events.lock().unwrap();
    let spent: Vec<_> = events[2..4].iter().map(|event| event.body.usage()).collect();
    assert_eq!(spent[0], Usage::default(), "a refused call costs nothing");
    assert!(
        spent[1].input > 100,
        "what the provider had counted is billed: {spent:?}"
    );
}

#[tokio::test]
async fn a_long_wait_parks_the_run_and_a_lasting_failure_ends_it() {
    let bench = Bench::new(work()).await;
    bench.model.fail_next(Fault::RateLimit {
        retry_after: Some(Duration::from_secs(3600)),
    });
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(memory.kinds()[2..], ["model_failed", "parked"]);

    let memory = Memory::new();
    bench.model.fail_next(Fault::RefuseKey);
    bench.drive(&memory).await;
    let EventBody::Failed { code, message } = memory.last() else {
        panic!("{:?}", memory.kinds())
    };
    assert_eq!(code, "model_key_refused");
    assert!(message.contains("key"), "{message}");
}

#[tokio::test]
async fn limits_on_turns_and_money_hold() {
    let mut bench = Bench::new(work()).await;
    bench.agent.limits.max_turns = 1;
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert!(matches!(memory.last(), EventBody::Failed { code, .. } if code == "turn_limit"));

    bench.agent.limits = RunLimits {
        max_cost: MicroUsd(1),
        ..RunLimits::default()
    };
    let priced = serde_json::from_value(
        json!({"price": {"input": 1_000_000, "output": 1_000_000, "cache_read": 0, "cache_write": 0}}),
    );
    bench.models.models.insert(
        "scripted/scripted".into(),
        priced.unwrap_or(ModelSettings::default()),
    );
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert!(
        matches!(memory.last(), EventBody::Failed { code, .. } if code == "cost_limit"),
        "{:?}",
        memory.last()
    );
}

#[tokio::test]
async fn a_cancel_ends_a_turn_at_once_and_a_drain_gives_the_run_back() {
    let mut bench = Bench::new(work()).await;
    let hold = Arc::new(Notify::new());
    let held = Counter {
        name: "act",
        class: EffectClass::AtMostOnce,
        calls: bench.calls.clone(),
        hold: Some(hold.clone()),
    };
    bench.tools = bench.tools.with(held);
    let memory = Memory::new();
    let (signals, hears) = mpsc::unbounded_channel();
    let (drain, draining) = watch::channel(Drain::No);
    let driving = tokio::spawn(bench.brain(&memory).drive(
        memory.lease(&bench.agent),
        Control {
            signals: hears,
            drain: draining.clone(),
        },
    ));
    while bench.calls.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    let cancel = SignalBody::Cancel { by: "a user".into() };
    signals
        .send(Signal {
            id: SignalId::new(UnixMillis(1), RANDOM),
            run: run_id(),
            body: cancel,
        })
        .unwrap();
    driving.await.unwrap();
    assert_eq!(
        memory.last(),
        EventBody::Cancelled {
            by: "a user".into(),
            reason: None
        }
    );

    drain.send(Drain::Soon).unwrap();
    let memory = Memory::new();
    let (_signals, hears) = mpsc::unbounded_channel();
    bench
        .brain(&memory)
        .drive(
            memory.lease(&bench.agent),
            Control {
                signals: hears,
                drain: draining,
            },
        )
        .await;
    assert_eq!(memory.kinds()[2..], ["released"]);
}

#[tokio::test]
async fn a_run_that_must_go_at_once_is_given_back_in_the_middle_of_a_call() {
    let mut bench = Bench::new(Script::turns(vec![
        Turn::call("look", json!({"n": 1})),
        Turn::say("All done."),
    ]))
    .await;
    let free = bench.tools.clone();
    bench.tools = bench.tools.with(Counter {
        name: "look",
        class: EffectClass::Idempotent,
        calls: bench.calls.clone(),
        hold: Some(Arc::new(Notify::new())),
    });
    let memory = Memory::new();
    let (_signals, signals) = mpsc::unbounded_channel();
    let (urge, drain) = watch::channel(Drain::No);
    let control = Control { signals, drain };
    let driving = tokio::spawn(bench.brain(&memory).drive(memory.lease(&bench.agent), control));
    while bench.calls.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    urge.send(Drain::Now).unwrap();
    driving.await.unwrap();
    assert_eq!(
        memory.kinds()[2..],
        ["model_answered", "tool_started", "released"]
    );

    // The next runner makes the call again, under its key.
    bench.tools = free;
    bench.drive(&memory).await;
    assert!(
        matches!(memory.last(), EventBody::Completed { .. }),
        "{:?}",
        memory.kinds()
    );
    assert_eq!(bench.model.requests().len(), 2);
    assert_eq!(bench.calls.lock().unwrap().len(), 1, "one key for both");
}

#[tokio::test]
async fn results_do_not_wait_for_a_model_that_takes_its_time() {
    let script = Script::turns(vec![Turn::call("look", json!({"n": 1})), Turn::say("Done.")]);
    let mut bench = Bench::new(script).await;
    let looked = Arc::new(Notify::new());
    bench.tools = bench.tools.with(Counter {
        name: "look",
        class: EffectClass::Pure,
        calls: bench.calls.clone(),
        hold: Some(looked.clone()),
    });
    let memory = Memory::new();
    let (_signals, signals) = mpsc::unbounded_channel();
    let (_drain, drain) = watch::channel(Drain::No);
    let control = Control { signals, drain };
    let driving = bench.brain(&memory).drive(memory.lease(&bench.agent), control);
    let driving = tokio::spawn(driving);
    while bench.calls.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.model.set_pace(Duration::from_secs(600));
    looked.notify_one();
    bench.model.received(2).await;
    while memory.kinds().last() != Some(&"tool_finished") {
        tokio::task::yield_now().await;
    }
    driving.abort();
}

#[tokio::test]
async fn a_full_window_is_summarised_and_the_run_goes_on() {
    let full = Usage {
        input: 190_000,
        output: 10,
        ..Usage::default()
    };
    let script = Script::by(move |asked| {
        let last = asked.last_text();
        if last.contains("Write a summary") {
            Turn::say("I was to fix it; two looks done.")
        } else if last.contains("your own summary") {
            Turn::say("Fixed.")
        } else {
            Turn::call("look", json!({"n": 1})).using(full)
        }
    });
    let mut bench = Bench::new(script).await;
    bench.models.models.insert(
        "scripted/scripted".into(),
        ModelSettings {
            window: Some(200_000),
            price: None,
        },
    );
    let memory = Memory::new();
    bench.drive(&memory).await;
    assert_eq!(
        memory.kinds()[2..],
        [
            "model_answered",
            "tool_started",
            "tool_finished",
            "compacted",
            "model_answered",
            "completed"
        ]
    );
}
