//! Recovery: from the death of the process that drove a run to the next time that run asks the model.
//!
//! Invariant: a run counts for the model only if it was waiting for the model when its runner died, so that the time of its
//! commands is not taken for ours; and every run that was driven counts for its next lease.

use std::{ops::RangeInclusive, time::Duration};

use roost_shared::{
    event::{Event, EventBody},
    run::Phase,
};
use serde::Serialize;

use super::{
    faults::{Fault, Struck},
    history::{History, Told},
    script::STEPS,
};

/// An edge that came back this shortly before a kill may not have seen its runner yet, in milliseconds.
const CLOSE: i64 = 300;

/// How long it took, sorted, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Spans {
    /// How many there were.
    pub count: usize,
    /// Half took no longer.
    pub p50_ms: i64,
    /// 99 of 100 took no longer.
    pub p99_ms: i64,
    /// The longest.
    pub max_ms: i64,
}

impl Spans {
    fn of(mut spans: Vec<i64>) -> Self {
        spans.sort_unstable();
        let at = |hundredths: usize| {
            let last = spans.len().saturating_sub(1);
            spans
                .get((last * hundredths).div_ceil(100))
                .copied()
                .unwrap_or_default()
        };
        Self {
            count: spans.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// How long recoveries took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Runner killed → its run asks the model again, while edge and database were whole. Runs that are held back don't count.
    pub killed_seen: Spans,
    /// The same, whatever else was broken, the next runner included.
    pub killed: Spans,
    /// Runner killed → its run is leased again, while edge and database were whole.
    pub leased_seen: Spans,
    /// The same of runs that had lost a runner before and got no further since: they are held back for it.
    pub held_back: Spans,
    /// Runner stopped → its run is leased again: nothing closes, so the lease has to run out.
    pub stopped: Spans,
    /// Run given back, by a runner that shuts down or for a poll whose answer was lost → it is leased again, while edge and
    /// database were whole.
    pub given_back: Spans,
}

/// Measures them.
pub fn measure(history: &History) -> Recovery {
    let (mut seen, mut all) = (Vec::new(), Vec::new());
    let (mut leased, mut held_back, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    for struck in &history.struck {
        match struck.fault {
            Fault::KillRunner => {
                for (told, held) in driven(history, struck) {
                    let is_held_back = held.crashes > 0;
                    let lease = next_lease(told, struck.at);
                    if let Some(at) = lease.filter(|at| is_seen(history, struck.at..=*at)) {
                        let spans = if is_held_back { &mut held_back } else { &mut leased };
                        spans.push(at - struck.at);
                    }
                    if let Some(at) = next_call(history, told, struck.at).filter(|_| !is_held_back) {
                        all.push(at - struck.at);
                        if is_seen(history, struck.at..=at) {
                            seen.push(at - struck.at);
                        }
                    }
                }
            }
            Fault::ZombieRunner => {
                for (told, _) in driven(history, struck) {
                    if let Some(at) = next_lease(told, struck.at).filter(|at| *at < struck.until) {
                        stopped.push(at - struck.at);
                    }
                }
            }
            _ => {}
        }
    }
    Recovery {
        killed_seen: Spans::of(seen),
        killed: Spans::of(all),
        leased_seen: Spans::of(leased),
        held_back: Spans::of(held_back),
        stopped: Spans::of(stopped),
        given_back: Spans::of(given_back(history).collect()),
    }
}

/// How long each run waited that was given back. One that was told to pause meanwhile is a person's to resume.
fn given_back(history: &History) -> impl Iterator<Item = i64> {
    let spans = history.runs.iter().flat_map(|told| handed_on(&told.journal));
    spans
        .filter(|span| is_seen(history, span.clone()))
        .map(|span| span.end() - span.start())
}

/// From each time that a run was given back to the lease that came next.
fn handed_on(journal: &[Event]) -> impl Iterator<Item = RangeInclusive<i64>> {
    journal.windows(2).filter_map(|pair| match pair {
        [back, again] => {
            let is_handed_on = matches!(back.body, EventBody::Released { .. })
                && matches!(again.body, EventBody::Leased { .. });
            is_handed_on.then_some(back.at.0..=again.at.0)
        }
        _ => None,
    })
}

/// The lease a run was under at a moment.
#[derive(Debug, PartialEq, Eq)]
struct Held<'a> {
    /// The runner's process: named after its part and the number of its start, or after its part alone.
    runner: &'a str,
    since: i64,
    /// Leases that had ended without a word since the run last got further, counted as the edge does: the next lease of such
    /// a run is held back 2 s, then 8 s, then 32 s, so that it takes no runner after the other with it.
    crashes: u32,
}

impl<'a> Held<'a> {
    fn at(journal: &'a [Event], at: i64) -> Option<Self> {
        let (mut phase, mut lease, mut crashes) = (Phase::Queued, None, 0);
        for event in journal.iter().take_while(|event| event.at.0 <= at) {
            if let EventBody::Leased { runner } = &event.body {
                crashes += u32::from(phase == Phase::Running);
                lease = Some((runner.as_str(), event.at.0));
            } else if event.body.is_progress() {
                crashes = 0;
            }
            phase = phase.after(&event.body).unwrap_or(phase);
        }
        let (runner, since) = lease.filter(|_| phase == Phase::Running)?;
        Some(Self {
            runner,
            since,
            crashes,
        })
    }

    fn is_by(&self, part: &str) -> bool {
        let rest = self.runner.strip_prefix(part);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// The runs that the struck process drove at that moment. What an earlier process of this part held when it was killed counts
/// for that kill alone.
fn driven<'a>(history: &'a History, struck: &'a Struck) -> impl Iterator<Item = (&'a Told, Held<'a>)> {
    let earlier = history.struck.iter().filter(|other| {
        other.fault == Fault::KillRunner && other.target == struck.target && other.at < struck.at
    });
    let begun = earlier.map(|kill| kill.at).max().unwrap_or(i64::MIN);
    let held = |told: &'a Told| Some((told, Held::at(&told.journal, struck.at)?));
    let runs = history.runs.iter().filter_map(held);
    runs.filter(move |(_, held)| held.is_by(&struck.target) && held.since > begun)
}

fn next_lease(told: &Told, after: i64) -> Option<i64> {
    let leases = told
        .journal
        .iter()
        .filter(|event| matches!(event.body, EventBody::Leased { .. }));
    leases.map(|event| event.at.0).find(|at| *at > after)
}

/// When the run asked the model next, if it was waiting for the model.
fn next_call(history: &History, told: &Told, after: i64) -> Option<i64> {
    let before = told.journal.iter().take_while(|event| event.at.0 <= after);
    let (mut answers, mut results) = (0, 0);
    for event in before {
        match &event.body {
            EventBody::ModelAnswered(_) => answers += 1,
            EventBody::ToolFinished { .. } => results += 1,
            _ => {}
        }
    }
    if answers != results || answers > STEPS {
        return None;
    }
    let calls = history
        .calls
        .iter()
        .filter(|call| Some(call.job) == told.job && call.agent == told.agent && call.position == answers);
    calls.map(|call| call.at.0).find(|at| *at > after)
}

/// Whether edge, database and the ways to them were whole in that time: what notices a death, and what has to be reached
/// after it.
fn is_seen(history: &History, span: RangeInclusive<i64>) -> bool {
    !history.struck.iter().any(|struck| {
        let matters = match struck.fault {
            Fault::KillEdge
            | Fault::PauseEdge
            | Fault::RestartEdge
            | Fault::KillDatabase
            | Fault::PauseDatabase => true,
            Fault::CutLink | Fault::HoldLink => struck.target != "runner-sprites",
            _ => false,
        };
        matters && struck.at <= *span.end() && struck.until + CLOSE >= *span.start()
    })
}

/// A span for people.
pub fn ms(ms: i64) -> String {
    let span = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    format!("{:.2} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use roost_shared::UnixMillis;

    use super::*;

    fn journal(bodies: impl IntoIterator<Item = EventBody>) -> Vec<Event> {
        let event = |(seq, body)| Event {
            seq,
            epoch: 1,
            at: UnixMillis(i64::try_from(seq).unwrap()),
            body,
        };
        (0..).zip(bodies).map(event).collect()
    }

    fn leased(runner: &str) -> EventBody {
        EventBody::Leased {
            runner: runner.into(),
        }
    }

    /// As the edge counts: the lease that got further and then ended without a word is one of them.
    #[test]
    fn crashes_are_counted_since_the_run_last_got_further() {
        let further = || EventBody::Compacted {
            summary: String::new(),
            cost: Default::default(),
            usage: Default::default(),
        };
        let crashes = |bodies: Vec<EventBody>| Held::at(&journal(bodies), 100).map(|held| held.crashes);
        let (one, two, three) = (leased("one"), leased("two"), leased("three"));
        assert_eq!(crashes(vec![one.clone()]), Some(0));
        assert_eq!(crashes(vec![one.clone(), further(), two.clone()]), Some(1));
        assert_eq!(crashes(vec![one.clone(), two.clone(), three]), Some(2));
        assert_eq!(crashes(vec![one.clone(), two.clone(), further()]), Some(0));
        let released = EventBody::Released {
            reason: String::new(),
        };
        assert_eq!(crashes(vec![one.clone(), released.clone(), two]), Some(0));
        assert_eq!(crashes(vec![one, released]), None);
    }

    #[test]
    fn a_hand_over_lasts_from_giving_back_to_the_next_lease() {
        let released = || EventBody::Released {
            reason: String::new(),
        };
        let by = || "somebody".to_owned();
        let journal = journal([
            leased("one"),
            released(),
            leased("two"),
            released(),
            EventBody::Cancelled {
                by: by(),
                reason: None,
            },
            EventBody::Resumed { by: by() },
            leased("three"),
        ]);
        assert_eq!(handed_on(&journal).collect::<Vec<_>>(), [1..=2]);
    }
}
