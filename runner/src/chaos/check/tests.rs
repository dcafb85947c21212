//! The checker finds what it is there for: each case breaks one promise in a history that keeps all of them.

use serde_json::json;

use super::*;
use crate::chaos::{
    api::{Effect, Run},
    history::Arrived,
    script::{self, Call},
    senders::Channel,
};

const ID: &str = "01J9ZD6M5N0000000000000001";

/// One job of one agent that went well, with a lease that broke in the middle of the second answer.
fn good() -> History {
    let called = |at: usize| {
        json!({"type": "model_answered", "model": "m", "stop": "tool_use", "usage": {}, "cost": 0, "first_byte_ms": 1,
               "took_ms": 1, "blocks": [{"type": "tool_call", "id": format!("c{at}"), "name": "bash", "input": {}}]})
    };
    let done =
        |at: usize| json!({"type": "tool_finished", "call": format!("c{at}"), "text": "done", "took_ms": 1});
    let work_item = json!({
        "id": ID, "integration": ID, "kind": "message", "conversation": {"key": "1"},
        "actor": {"id": "1", "name": "a user", "trust": "member"}, "text": "@ada please do job 1.",
        "reply_to": {"channel": "generic", "conversation": "1", "event": "1"}, "received_at": 1,
    });
    let bodies = [
        (
            0,
            json!({"type": "opened", "work_item": work_item, "agent": ID, "agent_version": 1}),
        ),
        (1, json!({"type": "leased", "runner": "one"})),
        (1, called(0)),
        (1, done(0)),
        (2, json!({"type": "leased", "runner": "two"})),
        (2, called(1)),
        (2, done(1)),
        (2, json!({"type": "completed", "reply": script::reply("ada", 1)})),
    ];
    let journal = bodies.into_iter().enumerate().map(|(seq, (epoch, mut body))| {
        body["seq"] = json!(seq);
        body["epoch"] = json!(epoch);
        body["at"] = json!(seq);
        serde_json::from_value(body).unwrap()
    });
    let run: Run = serde_json::from_value(
        json!({"id": ID, "agent": {"id": ID, "handle": "ada"}, "phase": "completed", "outcome": null}),
    )
    .unwrap();
    let call = |position| Call {
        job: 1,
        agent: "ada".into(),
        position,
        at: roost_shared::UnixMillis(1),
    };
    History {
        jobs: vec![Job {
            number: 1,
            channel: Channel::Github,
            agents: vec!["ada"],
            answers: vec![None, Some(200), Some(200)],
            sent_at: 0,
        }],
        runs: vec![Told {
            run,
            job: Some(1),
            agent: "ada".into(),
            journal: journal.collect(),
        }],
        unknown: Vec::new(),
        failed: Vec::new(),
        arrived: vec![Arrived {
            job: 1,
            text: script::reply("ada", 1),
        }],
        calls: [0, 1, 1, 2].map(call).to_vec(),
        ledger: (0..2)
            .map(|step| (("ada".to_owned(), script::line(1, step)), 1))
            .collect(),
        struck: Vec::new(),
        restless: 0,
    }
}

fn broken(breaks: impl FnOnce(&mut History)) -> Vec<Kind> {
    let mut history = good();
    breaks(&mut history);
    check(&history).1.iter().map(|offence| offence.kind).collect()
}

#[test]
fn a_history_that_keeps_every_promise_is_found_good() {
    let (counts, offences) = check(&good());
    assert_eq!(offences, []);
    assert_eq!(
        (counts.accepted, counts.repeated, counts.broken_leases),
        (1, 1, 1)
    );
}

#[test]
fn what_is_lost_is_found() {
    use Kind::Lost;
    assert_eq!(broken(|history| history.arrived.clear()), [Lost]);
    assert_eq!(
        broken(|history| history.runs[0].run.phase = "failed".into()),
        [Lost]
    );
    assert_eq!(
        broken(|history| history.ledger.retain(|(_, line), _| !line.ends_with('1'))),
        [Lost]
    );
    assert_eq!(broken(|history| history.restless = 1), [Lost]);
    let no_run = broken(|history| {
        history.runs.clear();
        history.arrived.clear();
    });
    assert_eq!(no_run, [Lost]);
}

#[test]
fn what_nobody_promised_or_what_a_person_is_asked_about_is_not_lost() {
    let unanswered = broken(|history| {
        history.runs.clear();
        history.arrived.clear();
        history.jobs[0].answers = vec![None, Some(503)];
    });
    assert_eq!(unanswered, []);
    let in_doubt = broken(|history| {
        history.arrived.clear();
        let effect = json!({"id": ID, "run": ID, "due_at": null, "reason": null});
        history.unknown = vec![serde_json::from_value::<Effect>(effect).unwrap()];
    });
    assert_eq!(in_doubt, []);
}

#[test]
fn what_is_doubled_is_found() {
    use Kind::Doubled;
    assert_eq!(
        broken(|history| history.arrived.push(history.arrived[0].clone())),
        [Doubled]
    );
    assert_eq!(
        broken(|history| *history.ledger.values_mut().next().unwrap() = 2),
        [Doubled]
    );
    assert_eq!(
        broken(|history| history.calls.push(history.calls[0].clone())),
        [Doubled]
    );
    let stray = Arrived {
        job: 1,
        text: "Something else.".into(),
    };
    assert_eq!(broken(|history| history.arrived.push(stray)), [Doubled]);
    let twice = broken(|history| history.runs.push(history.runs[0].clone()));
    assert_eq!(twice, [Doubled]);
}

#[test]
fn a_torn_journal_is_found() {
    let torn = |breaks: fn(&mut Vec<Event>)| {
        broken(|history| breaks(&mut history.runs[0].journal)).contains(&Kind::Torn)
    };
    assert!(torn(|journal| drop(journal.remove(4))), "a gap");
    assert!(torn(|journal| journal[6].epoch = 1), "an epoch that goes down");
    assert!(
        torn(|journal| journal[4].body = journal[3].body.clone()),
        "two results"
    );
    assert!(torn(|journal| journal.swap(1, 7)), "an event after the end");
}
