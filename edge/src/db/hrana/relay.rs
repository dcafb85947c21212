//! Group commit where only plain data may pass from one request to another (Workers): whoever finds a turn free writes for
//! all who wait, and the others look for their outcome from time to time.
//!
//! Invariant: no request waits for another one's waker, and none for ever: a host may drop a request that writes for others,
//! and then they answer that they don't know, which every caller has to be ready for with any server.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use roost_shared::UnixMillis;

use super::{
    super::{Database, DbError, Mode, Outcome, Statement},
    GROUP, HranaDatabase, QUEUE,
};
use crate::ports::{Clock, Random};

/// Transactions under way at a time: hosts run many isolates or instances, and all of theirs meet at the server.
const TURNS: usize = 1;
/// A turn that has not ended by then belongs to a request that is gone.
const LONGEST_TURN: Duration = Duration::from_secs(5);
/// How long an outcome is looked for, and kept.
const LONGEST_WAIT: Duration = Duration::from_secs(25);
/// Between two looks at least: this, and up to as much again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Who has waited for long looks less often, after a further quarter of the time, but at least so often (and up to twice that):
/// each look is a timer of the host's.
const LOOK_AT_LEAST: Duration = Duration::from_millis(16);

/// A libSQL server whose write batches share commits.
pub struct RelayedDatabase {
    database: HranaDatabase,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    shared: Mutex<Shared>,
}

/// What requests leave for each other.
#[derive(Default)]
struct Shared {
    last: u64,
    waiting: VecDeque<(u64, Vec<Statement>)>,
    done: HashMap<u64, (UnixMillis, Outcome)>,
    /// When each turn under way began.
    turns: Vec<(u64, UnixMillis)>,
}

/// What a look shows.
enum Look {
    Done(Outcome),
    /// A turn is free, and these wait.
    Write(Vec<(u64, Vec<Statement>)>),
    Wait,
}

impl RelayedDatabase {
    /// The database, written in groups.
    pub fn new(database: HranaDatabase) -> Self {
        Self {
            clock: database.clock.clone(),
            random: database.random.clone(),
            database,
            shared: Mutex::default(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, statements: Vec<Statement>) -> Outcome {
        let (own, begun) = (self.shared().enqueue(statements)?, self.clock.now());
        loop {
            let look = self.shared().look(own, self.clock.now());
            match look {
                Look::Done(outcome) => return outcome,
                Look::Write(group) => {
                    let (tickets, batches): (Vec<_>, Vec<_>) = group.into_iter().unzip();
                    let outcomes = self.database.write_together(&batches).await;
                    self.shared().end_turn(own, tickets, outcomes, self.clock.now());
                }
                Look::Wait if self.clock.now() < begun + LONGEST_WAIT => {
                    self.clock.sleep(self.pause(self.clock.now().since(begun))).await;
                }
                Look::Wait => return Err(self.shared().give_up(own)),
            }
        }
    }

    /// Before the next look of one that has waited for so long.
    fn pause(&self, waited: Duration) -> Duration {
        let mut chance = [0];
        self.random.fill(&mut chance);
        let pause = (waited / 4).clamp(LOOK_AGAIN, LOOK_AT_LEAST);
        pause + pause.mul_f64(f64::from(chance[0]) / 255.0)
    }
}

impl Database for RelayedDatabase {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome> {
        match mode {
            Mode::Read => self.database.batch(mode, statements),
            Mode::Write => Box::pin(self.write(statements)),
        }
    }
}

impl Shared {
    fn enqueue(&mut self, statements: Vec<Statement>) -> Result<u64, DbError> {
        if self.waiting.len() >= QUEUE {
            return Err(DbError::Unavailable("too many requests wait for it".into()));
        }
        self.last += 1;
        self.waiting.push_back((self.last, statements));
        Ok(self.last)
    }

    fn look(&mut self, own: u64, now: UnixMillis) -> Look {
        if let Some((_, outcome)) = self.done.remove(&own) {
            return Look::Done(outcome);
        }
        self.turns.retain(|(_, begun)| now < *begun + LONGEST_TURN);
        if self.waiting.is_empty() || self.turns.len() >= TURNS {
            return Look::Wait;
        }
        self.turns.push((own, now));
        let count = self.waiting.len().min(GROUP);
        Look::Write(self.waiting.drain(..count).collect())
    }

    fn end_turn(&mut self, own: u64, tickets: Vec<u64>, outcomes: Vec<Outcome>, now: UnixMillis) {
        self.turns.retain(|(leader, _)| *leader != own);
        // Outcomes that nobody came for: their requests are gone.
        self.done.retain(|_, (since, _)| now < *since + LONGEST_WAIT);
        let outcomes = outcomes.into_iter().map(|outcome| (now, outcome));
        self.done.extend(tickets.into_iter().zip(outcomes));
    }

    fn give_up(&mut self, own: u64) -> DbError {
        let before = self.waiting.len();
        self.waiting.retain(|(ticket, _)| *ticket != own);
        DbError::Unavailable(if self.waiting.len() < before {
            "too many requests wait for it".into()
        } else {
            "no answer: who wrote for this request is gone".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn written(shared: &mut Shared, own: u64, now: UnixMillis) -> Vec<u64> {
        match shared.look(own, now) {
            Look::Write(group) => group.into_iter().map(|(ticket, _)| ticket).collect(),
            Look::Done(_) | Look::Wait => Vec::new(),
        }
    }

    /// The first writes for itself; who comes meanwhile waits for a turn and is written with all others.
    #[test]
    fn whoever_finds_a_turn_free_writes_for_all_who_wait() {
        let mut shared = Shared::default();
        for turn in 1..=TURNS as u64 {
            shared.enqueue(Vec::new()).unwrap();
            assert_eq!(written(&mut shared, turn, NOW), [turn]);
        }
        let more: Vec<u64> = (0..3).map(|_| shared.enqueue(Vec::new()).unwrap()).collect();
        assert!(matches!(shared.look(more[0], NOW), Look::Wait));
        shared.end_turn(1, vec![1], vec![Ok(Vec::new())], NOW);
        assert!(matches!(shared.look(1, NOW), Look::Done(Ok(_))));
        assert_eq!(written(&mut shared, more[1], NOW), more);
        let outcomes = more.iter().map(|_| Ok(Vec::new())).collect();
        shared.end_turn(more[1], more.clone(), outcomes, NOW);
        for ticket in more {
            assert!(matches!(shared.look(ticket, NOW), Look::Done(Ok(_))));
        }
    }

    /// A turn whose request was dropped is given to another, and what it took along is not known.
    #[test]
    fn a_turn_of_a_request_that_is_gone_ends() {
        let mut shared = Shared::default();
        let tickets: Vec<u64> = (0..3).map(|_| shared.enqueue(Vec::new()).unwrap()).collect();
        assert_eq!(written(&mut shared, tickets[0], NOW), tickets);
        shared.turns.push((99, NOW));
        let late = shared.enqueue(Vec::new()).unwrap();
        assert!(matches!(shared.look(late, NOW), Look::Wait));
        assert_eq!(written(&mut shared, late, NOW + LONGEST_TURN), [late]);
        assert!(matches!(shared.look(tickets[1], NOW + LONGEST_TURN), Look::Wait));
        assert!(shared.give_up(tickets[1]).to_string().contains("is gone"));
    }
}
