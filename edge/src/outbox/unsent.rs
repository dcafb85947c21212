//! Claims under which nothing was sent.
//!
//! A claim may be committed though the edge is told that the database failed, or the edge may not get further than that. It
//! knows then that it sent nothing, while everyone else would see effects whose sender died, and ask a person about each that
//! can't be looked for. Invariant: a claim is given back only by the edge that made it, and only if no effect of it was begun.
//! It is kept in memory alone: an edge that ends leaves doubt, as ever.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use roost_shared::UnixMillis;

use crate::{
    db::{DbError, Scope},
    edge::Edge,
};

/// Claims that are kept at most; the oldest are left to doubt.
const LIMIT: usize = 64;

/// One claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Its number, at random: edges know nothing of each other's.
    pub(super) number: i64,
    /// When it runs out.
    pub(super) until: UnixMillis,
}

impl Ticket {
    /// A claim that is about to be made.
    pub(super) fn draw(edge: &Edge) -> Self {
        let mut number = [0; 8];
        edge.ports.random.fill(&mut number);
        Self {
            number: i64::from_le_bytes(number),
            until: edge.now() + edge.settings.send_within,
        }
    }
}

/// Claims to be given back.
#[derive(Clone, Default)]
pub(crate) struct Unsent(Arc<Mutex<VecDeque<Kept>>>);

struct Kept {
    workspace: Arc<str>,
    ticket: Ticket,
}

impl Unsent {
    /// Nothing was sent under this claim, and nothing will be.
    pub(super) fn keep(&self, scope: &Scope, ticket: Ticket) {
        let mut all = self.lock();
        if all.len() == LIMIT {
            all.pop_front();
        }
        all.push_back(Kept {
            workspace: scope.workspace().into(),
            ticket,
        });
    }

    /// Gives back what is left of the workspace's claims.
    ///
    /// # Errors
    /// When the database fails; then they are kept for the next time.
    pub(super) async fn give_back(&self, edge: &Edge, scope: &Scope) -> Result<(), DbError> {
        let now = edge.now();
        let tickets = self.of(scope.workspace(), now);
        if tickets.is_empty() {
            return Ok(());
        }
        let give_back = |ticket: &Ticket| {
            scope.sql(
                "UPDATE effects SET state = 'pending', due_at = ?4, replayed_after = replayed_after + 1, updated_at = ?4 \
                 WHERE workspace_id = ?1 AND due_at = ?2 AND claim = ?3 AND state = 'sending'",
                [ticket.until.into(), ticket.number.into(), now.into()],
            )
        };
        scope.write(tickets.iter().map(give_back).collect()).await?;
        self.lock().retain(|kept| !tickets.contains(&kept.ticket));
        Ok(())
    }

    /// The workspace's; what has run out is forgotten.
    fn of(&self, workspace: &str, now: UnixMillis) -> Vec<Ticket> {
        let mut all = self.lock();
        all.retain(|kept| now <= kept.ticket.until);
        let of_it = all.iter().filter(|kept| &*kept.workspace == workspace);
        of_it.map(|kept| kept.ticket).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
