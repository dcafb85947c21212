//! What holds at every moment.

use std::collections::{BTreeMap, BTreeSet};

use roost_shared::{
    RunId,
    event::{Change, Event, EventBody},
    run::{Phase, RunState, Waits},
};

use crate::world::{Said, World};

impl World {
    /// Holds at every moment.
    pub(crate) async fn check(&self) {
        let columns = "/* all */ SELECT id, phase, waits, next_seq, epoch, crashes, conversation_id FROM runs WHERE workspace_id = ?1";
        let mut places: BTreeMap<String, u32> = BTreeMap::new();
        let mut active: BTreeMap<String, u32> = BTreeMap::new();
        let mut cancelled: BTreeSet<RunId> = BTreeSet::new();
        for row in &self.scope.query(columns, []).await.unwrap() {
            let run: RunId = row.parse(0).unwrap();
            let journal = roost_edge::runs::journal::page(&self.scope, run, 0)
                .await
                .unwrap();
            let state = allowed(&journal);
            let phase = Phase::from_name(row.text(1).unwrap()).unwrap();
            if phase == Phase::Cancelled {
                cancelled.insert(run);
            }
            assert_eq!((state.phase, state.next_seq), (phase, row.unsigned(3).unwrap()));
            assert_eq!(
                journal.last().unwrap().epoch.max(1),
                row.unsigned(4).unwrap().max(1)
            );
            assert_eq!(u64::from(state.crashes), row.unsigned(5).unwrap(), "{journal:?}");
            let waits = row.optional_text(2).unwrap().and_then(Waits::from_name);
            assert_eq!(waits.is_some(), phase == Phase::Waiting);
            if matches!(phase, Phase::Running | Phase::Parked) {
                *active.entry(row.text(6).unwrap().to_owned()).or_default() += 1;
            }
            for text in heard(&journal) {
                *places.entry(text).or_default() += 1;
            }
            let waiting = "SELECT coalesce(body ->> '$.change', kind), body ->> '$.work_item.text' FROM signals \
                           WHERE workspace_id = ?1 AND run_id = ?2";
            for signal in &self.scope.query(waiting, [run.into()]).await.unwrap() {
                let kind = signal.text(0).unwrap();
                let kept = phase == Phase::Failed && matches!(kind, "edited" | "deleted" | "answer");
                assert!(!phase.is_terminal() || kept, "an ended run leaves {kind} unheard");
                if matches!(kind, "said" | "edited") {
                    *places.entry(signal.text(1).unwrap().to_owned()).or_default() += 1;
                }
            }
        }
        assert!(active.values().all(|runs| *runs == 1), "one active run per lane");
        for said in &self.said {
            said.check(&mut places, &cancelled);
        }
        assert_eq!(places, BTreeMap::new(), "nothing is anywhere that nobody wrote");
    }
}

impl Said {
    /// A message is in exactly one place, unless it was deleted, perhaps before it was read; an edit is in one, as long as a run
    /// that was told of it was not cancelled.
    fn check(&self, places: &mut BTreeMap<String, u32>, cancelled: &BTreeSet<RunId>) {
        let times = places.remove(&self.id).unwrap_or_default();
        assert!(
            times == 1 || self.deleted && times == 0,
            "{self:?} is in {times} places"
        );
        for (text, told) in &self.edits {
            let times = places.remove(text).unwrap_or_default();
            let counts = |run: &RunId| !cancelled.contains(run);
            let must = !self.deleted && told.iter().any(counts);
            assert!(
                times == 1 || times == 0 && !must,
                "{text} of {self:?} is in {times} places"
            );
        }
    }
}

/// The journal folded, if the state machine allows each of its events and it has no gap.
fn allowed(journal: &[Event]) -> RunState {
    let mut phase = Phase::Queued;
    for (seq, event) in (0..).zip(journal) {
        assert_eq!(event.seq, seq, "no gap");
        if seq > 0 {
            phase = phase.after(&event.body).unwrap();
        }
    }
    RunState::fold(journal).unwrap()
}

/// The texts a journal holds, and whose they may be.
fn heard(journal: &[Event]) -> Vec<String> {
    let mut asked = false;
    let mut texts = Vec::new();
    let mut trust = None;
    for event in journal {
        match &event.body {
            EventBody::Opened { work_item, .. } => {
                trust = Some(work_item.actor.trust);
                texts.push(work_item.text.clone());
            }
            EventBody::Asked { .. } => asked = true,
            EventBody::Steered {
                change, work_item, ..
            } => {
                assert!(asked || Some(work_item.actor.trust) == trust, "a stranger steers");
                if *change != Change::Deleted {
                    texts.push(work_item.text.clone());
                }
            }
            _ => {}
        }
    }
    texts
}
