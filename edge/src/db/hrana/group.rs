//! Group commit at a libSQL server: write batches that wait for their turn go there together, as one transaction.
//!
//! Invariant: a batch that has begun is seen to its end even when nobody waits for its answer any more, because others may
//! share its transaction.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

use super::{
    super::{Database, DbError, Mode, Outcome, Statement},
    GROUP, HranaDatabase, QUEUE,
};

/// Transactions of an edge under way at a time: one is written while the next one is on its way. The server's own queue of
/// writers can come to a standstill when many wait in it (sqld 0.24 with two dozen writers does within half a minute), and
/// waits for nothing then but its own restart.
const TURNS: usize = 2;

/// A libSQL server whose write batches share commits.
pub struct GroupedDatabase {
    shared: Arc<Shared>,
}

struct Shared {
    database: HranaDatabase,
    waiting: Mutex<VecDeque<Job>>,
    turns: Semaphore,
}

struct Job {
    statements: Vec<Statement>,
    done: oneshot::Sender<Outcome>,
}

impl GroupedDatabase {
    /// The database, written in groups.
    pub fn new(database: HranaDatabase) -> Self {
        let shared = Shared {
            database,
            waiting: Mutex::default(),
            turns: Semaphore::new(TURNS),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Database for GroupedDatabase {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            if mode == Mode::Read {
                return self.shared.database.batch(mode, statements).await;
            }
            let (done, answer) = oneshot::channel();
            self.shared.enqueue(Job { statements, done })?;
            tokio::spawn(write_next(self.shared.clone()));
            answer
                .await
                .unwrap_or_else(|_| Err(DbError::Unavailable("the edge is shutting down".into())))
        })
    }
}

/// Waits for a turn and writes what waits then; another one's turn may have come for all of it.
async fn write_next(shared: Arc<Shared>) {
    let Ok(_turn) = shared.turns.acquire().await else {
        return;
    };
    let (batches, answers): (Vec<_>, Vec<_>) = shared
        .next_group()
        .into_iter()
        .map(|job| (job.statements, job.done))
        .unzip();
    if batches.is_empty() {
        return;
    }
    let outcomes = shared.database.write_together(&batches).await;
    for (done, outcome) in answers.into_iter().zip(outcomes) {
        // Who does not wait any more needs no answer.
        drop(done.send(outcome));
    }
}

impl Shared {
    fn enqueue(&self, job: Job) -> Result<(), DbError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= QUEUE {
            return Err(DbError::Unavailable("too many requests wait for it".into()));
        }
        waiting.push_back(job);
        Ok(())
    }

    fn next_group(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(GROUP);
        waiting.drain(..count).collect()
    }
}
