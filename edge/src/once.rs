//! One at a time: many requests ask for the same follow-up work; one does it, once more if somebody asked meanwhile.
//!
//! Invariant: whoever asks has the work done by somebody who began it later than that, or does it; where a request may
//! end under its work, the others see to that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use roost_shared::UnixMillis;

use crate::{db::Scope, edge::Edge};

/// Where requests end: how long one goes on for others. It may end without a word, so after that another takes its place.
#[cfg(any(target_family = "wasm", test))]
const LONGEST_TURN: Duration = Duration::from_secs(5);
/// Where requests end: how often those who asked look whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Who is at work, by workspace, and what was asked for: of those workspaces alone in which somebody is.
#[derive(Clone, Default)]
pub(crate) struct AtATime {
    works: Arc<Mutex<HashMap<Arc<str>, Work>>>,
    /// How long a turn lasts; where requests don't end, as long as there is something to do.
    longest: Option<Duration>,
}

/// One workspace's work.
#[derive(Default)]
struct Work {
    /// How often it was asked for.
    asked: u64,
    /// How many of those were asked for before it was last done.
    done: u64,
    /// Those who asked and are still here. Once there are none it is forgotten.
    askers: usize,
    /// Who is at it, and since when.
    turn: Option<(u64, UnixMillis)>,
}

/// Somebody who asked.
pub(crate) struct Asker {
    all: AtATime,
    workspace: Arc<str>,
    number: u64,
    /// What was asked for when it last began the work, if the turn is its.
    covers: Option<u64>,
}

/// What somebody who asked has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Work,
    Look,
    Nothing,
}

/// Has `work` done after the response, by this request or by one that is at it.
pub(crate) fn soon<F>(
    edge: &Arc<Edge>,
    scope: &Scope,
    all: &AtATime,
    work: impl Fn(Arc<Edge>, Scope) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let Some(mut asker) = all.ask(scope.workspace(), edge.now()) else {
        return;
    };
    let (edge, scope) = (edge.clone(), scope.clone());
    let background = edge.ports.background.clone();
    background.spawn(Box::pin(async move {
        loop {
            match asker.next(edge.now()) {
                Next::Work => work(edge.clone(), scope.clone()).await,
                Next::Look => edge.ports.clock.sleep(LOOK_AGAIN).await,
                Next::Nothing => return,
            }
        }
    }));
}

impl AtATime {
    /// The same, shared by requests that may end at any time.
    #[cfg(any(target_family = "wasm", test))]
    pub(crate) fn among_requests(&self) -> Self {
        Self {
            works: self.works.clone(),
            longest: Some(LONGEST_TURN),
        }
    }

    fn works(&self) -> MutexGuard<'_, HashMap<Arc<str>, Work>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the work; nothing if somebody is at it who surely does it once more.
    fn ask(&self, workspace: &str, now: UnixMillis) -> Option<Asker> {
        let workspace: Arc<str> = workspace.into();
        let mut works = self.works();
        let work = works.entry(workspace.clone()).or_default();
        work.asked += 1;
        let number = work.asked;
        let free = work.turn.is_none();
        if free {
            work.turn = Some((number, now));
        } else if self.longest.is_none() {
            return None;
        }
        work.askers += 1;
        Some(Asker {
            all: self.clone(),
            workspace,
            number,
            covers: free.then_some(work.done),
        })
    }
}

impl Asker {
    fn next(&mut self, now: UnixMillis) -> Next {
        let mut works = self.all.works();
        let Some(work) = works.get_mut(&self.workspace) else {
            return Next::Nothing;
        };
        let in_time = |begun: UnixMillis| self.all.longest.is_none_or(|longest| now.since(begun) < longest);
        if let Some(covered) = self.covers.take() {
            work.done = work.done.max(covered);
            match work.turn {
                Some((number, begun)) if number == self.number => {
                    if work.asked > work.done && in_time(begun) {
                        self.covers = Some(work.asked);
                        return Next::Work;
                    }
                    work.turn = None;
                }
                _ => {}
            }
        }
        if work.done >= self.number {
            return Next::Nothing;
        }
        if work.turn.is_some_and(|(_, begun)| in_time(begun)) {
            return Next::Look;
        }
        work.turn = Some((self.number, now));
        self.covers = Some(work.asked);
        Next::Work
    }
}

impl Drop for Asker {
    /// A host may drop background work at any time.
    fn drop(&mut self) {
        let mut works = self.all.works();
        let Some(work) = works.get_mut(&self.workspace) else {
            return;
        };
        if work.turn.is_some_and(|(number, _)| number == self.number) {
            work.turn = None;
        }
        work.askers = work.askers.saturating_sub(1);
        if work.askers == 0 {
            works.remove(&self.workspace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    #[test]
    fn whoever_asks_meanwhile_makes_it_happen_once_more() {
        let all = AtATime::default();
        let mut first = all.ask("main", NOW).unwrap();
        assert_eq!(first.next(NOW), Next::Work);
        assert!(all.ask("main", NOW).is_none() && all.ask("main", NOW).is_none());
        assert!(all.ask("other", NOW).is_some());
        assert_eq!(first.next(NOW + LONGEST_TURN), Next::Work);
        assert_eq!(first.next(NOW), Next::Nothing);
        drop(all.ask("main", NOW).unwrap());
        assert!(all.ask("main", NOW).is_some());
    }

    /// Among requests the others look until it is done, and take the place of one that has ended or had its time.
    #[test]
    fn a_request_that_ends_under_its_work_is_replaced() {
        let all = AtATime::default().among_requests();
        let mut gone = all.ask("main", NOW).unwrap();
        assert_eq!(gone.next(NOW), Next::Work);
        let (mut second, mut third) = (all.ask("main", NOW).unwrap(), all.ask("main", NOW).unwrap());
        assert_eq!(second.next(NOW), Next::Look);
        let late = NOW + LONGEST_TURN;
        assert_eq!(second.next(late), Next::Work);
        assert_eq!(third.next(late), Next::Look);
        // It was there after all: what it did it did for itself.
        assert_eq!(gone.next(late), Next::Nothing);
        assert_eq!(third.next(late), Next::Look);
        assert_eq!(second.next(late), Next::Nothing);
        assert_eq!(third.next(late), Next::Nothing);
    }

    #[test]
    fn a_workspace_in_which_nobody_is_at_work_is_forgotten() {
        for all in [AtATime::default(), AtATime::default().among_requests()] {
            for number in 0..100 {
                let mut first = all.ask(&format!("w{number}"), NOW).unwrap();
                let beside = all.ask(&format!("w{number}"), NOW);
                assert_eq!(first.next(NOW), Next::Work);
                assert_eq!(first.next(NOW), Next::Nothing);
                drop(first);
                assert_eq!(all.works().len(), usize::from(beside.is_some()));
                if let Some(mut beside) = beside {
                    assert_eq!(beside.next(NOW), Next::Nothing, "it was done for it, too");
                }
            }
            assert!(all.works().is_empty());
        }
    }

    #[test]
    fn a_request_goes_on_for_others_for_a_while() {
        let all = AtATime::default().among_requests();
        let mut first = all.ask("main", NOW).unwrap();
        assert_eq!(first.next(NOW), Next::Work);
        let mut second = all.ask("main", NOW).unwrap();
        assert_eq!(first.next(NOW), Next::Work);
        let mut third = all.ask("main", NOW).unwrap();
        assert_eq!(first.next(NOW + LONGEST_TURN), Next::Nothing);
        assert_eq!(second.next(NOW + LONGEST_TURN), Next::Nothing);
        assert_eq!(third.next(NOW + LONGEST_TURN), Next::Work);
    }
}
