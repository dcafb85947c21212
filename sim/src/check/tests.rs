//! The checker can say no: every kind of broken history is named, and a whole one is not.

use roost_shared::{
    IntegrationId, RunId, UnixMillis, WorkItemId,
    event::{Change, Event, EventBody},
    question::Question,
    run::RunState,
    work::{Actor, Conversation, ReplyTo, Trust, WorkItem},
};

use super::check;
use crate::{
    channel::Said,
    history::{Ack, History, RunTold},
    person::{Deed, Want},
    runner::script,
    sender::{Changed, Channel, Message},
};

fn work_item() -> Box<WorkItem> {
    let actor = Actor {
        id: "7".into(),
        name: "ada".into(),
        trust: Trust::Member,
    };
    let conversation = Conversation {
        key: "1".into(),
        title: String::new(),
        url: None,
    };
    Box::new(WorkItem {
        id: WorkItemId::from_bytes([1; 16]),
        integration: IntegrationId::from_bytes([2; 16]),
        kind: "message".into(),
        actor,
        conversation,
        text: "please look at m0".into(),
        context: Vec::new(),
        reply_to: ReplyTo::Telegram {
            chat: 1,
            topic: None,
            message: 1,
        },
        received_at: UnixMillis(1),
    })
}

/// One message, its run, two leases, one reply.
fn whole() -> History {
    let leased = || EventBody::Leased {
        runner: "runner-0".into(),
    };
    let completed = EventBody::Completed {
        reply: Some("the answer".into()),
    };
    let opened = EventBody::Opened {
        work_item: work_item(),
        agent: roost_shared::AgentId::from_bytes([3; 16]),
        agent_version: 1,
    };
    let bodies = [(0, opened), (1, leased()), (2, leased()), (2, completed.clone())];
    let journal = (0..).zip(bodies).map(|(seq, (epoch, body))| Event {
        seq,
        epoch,
        at: UnixMillis(1),
        body,
    });
    let id = RunId::from_bytes([4; 16]);
    History {
        messages: vec![Message {
            number: 0,
            channel: Channel::Telegram,
            conversation: 0,
            accepted: true,
            changed: None,
        }],
        deeds: Vec::new(),
        acks: vec![Ack {
            run: id,
            epoch: 2,
            seq: 3,
            events: vec![completed],
        }],
        runs: vec![RunTold {
            id,
            phase: "completed".into(),
            journal: journal.collect(),
            replies: vec!["sent".into()],
            questions: Vec::new(),
        }],
        said: vec![Said {
            place: "telegram/1".into(),
            text: "the answer".into(),
        }],
        panics: 0,
    }
}

#[test]
fn a_whole_history_breaks_nothing() {
    let (counts, offences) = check(&whole());
    assert_eq!(offences, Vec::<String>::new());
    assert_eq!((counts.accepted, counts.replies, counts.broken_leases), (1, 1, 1));
}

#[test]
fn every_broken_promise_is_named() {
    type Break = fn(&mut History);
    let breaks: [(&str, Break); 12] = [
        ("in no journal", |history| history.runs.clear()),
        ("in 2 places", |history| {
            let steered = EventBody::Steered {
                signal: roost_shared::SignalId::from_bytes([5; 16]),
                change: Change::Said,
                work_item: work_item(),
            };
            history.runs[0].journal[2].body = steered;
        }),
        ("acknowledged append", |history| history.acks[0].epoch = 1),
        ("acknowledged append", |history| {
            history.runs[0].journal[3].seq = 4;
        }),
        ("a gap", |history| history.runs[0].journal[2].seq = 7),
        ("an epoch that goes down", |history| {
            history.runs[0].journal[3].epoch = 1;
        }),
        ("an event that can't follow", |history| {
            let end = history.runs[0].journal[3].body.clone();
            history.runs[0].journal[1].body = end;
        }),
        ("is running", |history| history.runs[0].phase = "running".into()),
        ("did not arrive", |history| history.said.clear()),
        ("arrived 2 times", |history| {
            let again = history.said[0].clone();
            history.said.push(again);
        }),
        ("more replies in the channels", |history| {
            history.said.push(Said {
                place: "github/1".into(),
                text: "nobody's".into(),
            });
        }),
        ("panicked", |history| history.panics = 1),
    ];
    for (named, broken) in breaks {
        let mut history = whole();
        broken(&mut history);
        let (_, offences) = check(&history);
        assert!(
            offences.iter().any(|offence| offence.contains(named)),
            "{named}: {offences:?}"
        );
    }
}

/// The message was edited, and its run was told.
fn edited(history: &mut History) {
    history.messages[0].changed = Some(Changed {
        change: Change::Edited,
        told: vec![history.runs[0].id],
    });
}

/// The run takes the edit in at this place of its journal.
fn take_in(history: &mut History, place: usize) {
    let mut item = work_item();
    item.text = history.messages[0].text(Change::Edited);
    history.runs[0].journal[place].body = EventBody::Steered {
        signal: roost_shared::SignalId::from_bytes([6; 16]),
        change: Change::Edited,
        work_item: item,
    };
}

fn deed(history: &mut History, want: Want, done: &str, seen_after: u64) {
    history.deeds.push(Deed {
        run: history.runs[0].id,
        want,
        done: Some(done.to_owned()),
        seen_after: Some(seen_after),
    });
}

#[test]
fn what_people_may_not_rely_on_is_named() {
    type Break = fn(&mut History);
    let pause = |history: &mut History| {
        history.runs[0].journal[3].body = EventBody::Paused {
            by: "a person".into(),
            until: UnixMillis(1),
        };
    };
    let breaks: [(&str, Break); 11] = [
        ("did not take it in", edited),
        ("replied without", |history| {
            edited(history);
            take_in(history, 2);
        }),
        ("was taken in 2 times", |history| {
            edited(history);
            take_in(history, 1);
            take_in(history, 2);
        }),
        ("was cancelled, and is completed", |history| {
            deed(history, Want::Cancel, "cancelled", 4);
        }),
        ("nobody cancelled", |history| {
            history.runs[0].phase = "cancelled".into();
        }),
        ("was cancelled, and replied", |history| {
            history.runs[0].phase = "cancelled".into();
            history.said[0].text = format!("answer to {}", work_item().id);
        }),
        ("nobody said so", |history| {
            let [_, failed] = script::refusal();
            history.runs[0].journal[1].body = failed;
        }),
        ("was asked for t0-0", |history| {
            let Ok(state) = RunState::fold(&history.runs[0].journal[..1]) else {
                return;
            };
            history.runs[0].journal[1].body = script::answer(&state);
            history.runs[0].journal[2].body = script::answer(&state);
        }),
        ("paused at 3 without a pause", |history| {
            deed(history, Want::Pause, "pausing", 2);
            deed(history, Want::Resume, "resumed", 2);
        }),
        ("question 1\" did not arrive", |_| {}),
        ("question 1\" arrived 2 times", |history| {
            let text = "question 1".to_owned();
            let place = "telegram/1".to_owned();
            history.said.extend([
                Said {
                    place: place.clone(),
                    text: text.clone(),
                },
                Said { place, text },
            ]);
        }),
    ];
    for (named, broken) in breaks {
        let mut history = whole();
        broken(&mut history);
        if named.contains("without a pause") {
            pause(&mut history);
        }
        if named.contains("question") {
            history.runs[0].journal[2].body = EventBody::Asked {
                question: Question {
                    call: "c".into(),
                    text: "question 1".into(),
                    options: Vec::new(),
                },
                until: UnixMillis(1),
            };
        }
        let (_, offences) = check(&history);
        assert!(
            offences.iter().any(|offence| offence.contains(named)),
            "{named}: {offences:?}"
        );
    }
    // The same pause where nobody had taken it back.
    let mut history = whole();
    deed(&mut history, Want::Pause, "pausing", 2);
    pause(&mut history);
    let (_, offences) = check(&history);
    assert!(
        !offences.iter().any(|offence| offence.contains("without a pause")),
        "{offences:?}"
    );
}

#[test]
fn a_reply_that_nobody_knows_of_is_in_doubt_and_not_lost() {
    let mut history = whole();
    history.said.clear();
    history.runs[0].replies = vec!["unknown".into()];
    let (counts, offences) = check(&history);
    assert_eq!((offences, counts.in_doubt), (Vec::new(), 1));
}
