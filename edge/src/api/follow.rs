//! Following a journal: every event from some seq on, each once and in order, as it comes.
//!
//! The bell is only a hint. What is sent is what is read from the journal, from the next seq on; so nothing is missed
//! or doubled, whichever process wrote it.

use std::{sync::Arc, time::Duration};

use futures::future::select;
use roost_shared::{RunId, UnixMillis, event::Event, run::Phase};

use super::sse::HEARTBEAT;
use crate::{auth::session::Person, bells::Topic, edge::Edge, error::ApiError, runs::journal};

/// Events read at once while following.
const CHUNK: u32 = 50;
/// How long one stream lasts at most; the client comes back with `Last-Event-ID`.
const LONGEST: Duration = Duration::from_secs(900);

/// Where a run stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) phase: Phase,
    pub(crate) next_seq: u64,
}

impl Head {
    /// Whether no event follows from `from` on, unless a person lets a failed run go on.
    pub(crate) fn is_over(&self, from: u64) -> bool {
        self.phase.is_terminal() && from >= self.next_seq
    }
}

/// Reads where a run stands and up to `limit` of its events from `from` on, as of one moment.
///
/// # Errors
/// 401 when the person's token has been revoked, 404 when there is no such run.
pub(crate) async fn look(
    person: &Person,
    run: RunId,
    from: u64,
    limit: u32,
) -> Result<(Head, Vec<Event>), ApiError> {
    let scope = &person.scope;
    let results = scope
        .read(vec![
            person.guard(),
            scope.sql(
                "SELECT phase, next_seq FROM runs WHERE workspace_id = ?1 AND id = ?2",
                [run.into()],
            ),
            scope.sql(
                "SELECT seq, epoch, at, body FROM events WHERE workspace_id = ?1 AND run_id = ?2 AND seq >= ?3 \
                 ORDER BY seq LIMIT ?4",
                [run.into(), from.into(), limit.into()],
            ),
        ])
        .await?;
    let row = results
        .get(1)
        .and_then(|rows| rows.first())
        .ok_or_else(|| ApiError::not_found("run"))?;
    let head = Head {
        phase: Phase::from_name(row.text(0)?).ok_or_else(|| ApiError::not_found("run"))?,
        next_seq: row.unsigned(1)?,
    };
    let events = results.get(2).into_iter().flatten();
    let events = events
        .map(|row| journal::event(row, 0))
        .collect::<Result<_, _>>()?;
    Ok((head, events))
}

/// One follower of one journal.
pub(crate) struct Follower {
    pub(crate) edge: Arc<Edge>,
    pub(crate) person: Person,
    pub(crate) run: RunId,
    next: u64,
    until: UnixMillis,
    last_sent: UnixMillis,
}

/// What a follower is told next.
pub(crate) enum Step {
    /// Events, at least one.
    Grown(Vec<Event>),
    /// Nothing for a while; say that we are still here.
    Quiet,
    /// The run has ended and every event has been told.
    Over,
    /// The time is up, the token was revoked, the edge or its database goes away: the client may come back.
    Stopped,
}

impl Follower {
    /// A follower who has seen all events before `from`.
    pub(crate) fn new(edge: Arc<Edge>, person: Person, run: RunId, from: u64) -> Self {
        let now = edge.now();
        Self {
            next: from,
            until: person.until().min(now + LONGEST),
            last_sent: now,
            edge,
            person,
            run,
        }
    }

    /// Waits for the next thing to tell.
    pub(crate) async fn step(&mut self) -> Step {
        loop {
            // Listen before looking, so that what happens in between still rings.
            let bell = self.edge.bells.listen(Topic::Journal(self.run));
            let now = self.edge.now();
            if now >= self.until || self.edge.bells.closed() {
                return Step::Stopped;
            }
            let (head, events) = match look(&self.person, self.run, self.next, CHUNK).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::debug!(run = %self.run, "a stream ends: {error:?}");
                    return Step::Stopped;
                }
            };
            if let Some(last) = events.last() {
                self.next = last.seq + 1;
                self.last_sent = now;
                return Step::Grown(events);
            }
            if head.is_over(self.next) {
                return Step::Over;
            }
            if now.since(self.last_sent) >= HEARTBEAT {
                self.last_sent = now;
                return Step::Quiet;
            }
            let nap = self.edge.settings.look_again.min(HEARTBEAT);
            select(bell, self.edge.ports.clock.sleep(nap)).await;
        }
    }
}
