//! Offers: a poll that waits lets the next webhooks lease the runs that begin with them, each in the webhook's own batch. One
//! commit then stands between a message and its run's first step, not two.
//!
//! Invariant: an offer is taken at most as often as its poll has room, and only for a run that begins in that batch in a lane
//! where none is open. What it took is leased in the poll's name and fenced like every lease; when the poll has gone by then,
//! it is withdrawn as its runner would withdraw it. A poll is answered when all who took its offer have said what came of it.
//! Where polls and webhooks don't meet in one process there are no offers, and the bell rings instead.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, channel::mpsc};
use roost_shared::{
    AgentId, PollId, RunId, TokenId, UnixMillis,
    agent::AgentSpec,
    event::{Event, EventBody},
    fail_point::{self, FailPoint},
    run::Phase,
    sprite::SpriteOwner,
    wire::{Lease, PollRequest},
};

use super::{journal, runner::Runner, take::MAX_LEASES, withdraw};
use crate::{
    bells::Topic,
    db::{DbError, Rows, Scope, Statement},
    edge::Edge,
    integration::Settings,
};

/// The offers of the polls that wait in this process, the oldest first.
#[derive(Default)]
pub(crate) struct Offers(Mutex<HashMap<Arc<str>, VecDeque<Open>>>);

/// An offer that can be taken.
struct Open {
    offer: Offer,
    /// How often.
    room: u32,
}

/// A poll's word that it takes a run.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(super) runner: String,
    pub(super) token: TokenId,
    pub(super) poll: PollId,
    /// Of these agents alone, and only such as work in their agent's own sprite.
    pub(super) only: Option<Vec<AgentId>>,
    answer: mpsc::UnboundedSender<Lease>,
}

/// A run about to be written together with its lease.
pub(crate) struct Newborn<'a> {
    pub(crate) run: RunId,
    pub(crate) agent: &'a AgentSpec,
    /// Its first event.
    pub(crate) opened: EventBody,
    pub(crate) settings: &'a Settings,
    pub(crate) now: UnixMillis,
}

/// An offer as the poll that made it sees it. Dropped with the poll, it is nobody's to take any more.
pub(super) struct Standing<'a> {
    offers: &'a Offers,
    workspace: Arc<str>,
    poll: PollId,
    /// Ends when nobody has the offer any more.
    answer: mpsc::UnboundedReceiver<Lease>,
    leases: Vec<Lease>,
}

impl<'a> Standing<'a> {
    /// Makes an offer.
    pub(super) fn make(
        edge: &'a Edge,
        workspace: &Arc<str>,
        runner: &Runner,
        request: &PollRequest,
        poll: PollId,
    ) -> Self {
        let (answer, answered) = mpsc::unbounded();
        let offer = Offer {
            runner: request.runner.clone(),
            token: runner.claims.jti,
            poll,
            only: request.only.clone(),
            answer,
        };
        let mut offers = edge.offers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = offers.entry(workspace.clone()).or_default();
        standing.retain(|open| !open.offer.answer.is_closed());
        let room = request.room.min(MAX_LEASES);
        standing.push_back(Open { offer, room });
        Self {
            offers: &edge.offers,
            workspace: workspace.clone(),
            poll,
            answer: answered,
            leases: Vec::new(),
        }
    }

    /// Waits until the offer has been taken and answered, or is gone.
    pub(super) async fn taken(&mut self) {
        self.leases.extend(self.answer.next().await);
    }

    /// Takes the offer back. Who has taken it by now is waited for: what was leased must not go unheard.
    pub(super) async fn end(mut self) -> Vec<Lease> {
        self.offers.revoke(&self.workspace, self.poll);
        while let Some(lease) = self.answer.next().await {
            self.leases.push(lease);
        }
        self.leases
    }
}

impl Offers {
    fn revoke(&self, workspace: &str, poll: PollId) {
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = offers.get_mut(workspace) {
            standing.retain(|open| open.offer.poll != poll);
        }
    }

    /// Takes the oldest offer that a run of this agent fits, once.
    pub(crate) fn take(&self, workspace: &str, agent: &AgentSpec) -> Option<Offer> {
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = offers.get_mut(workspace)?;
        let place = standing.iter().position(|open| open.offer.fits(agent))?;
        let open = standing.get_mut(place)?;
        open.room = open.room.saturating_sub(1);
        match open.room {
            0 => standing.remove(place).map(|open| open.offer),
            _ => Some(open.offer.clone()),
        }
    }
}

impl Offer {
    fn fits(&self, agent: &AgentSpec) -> bool {
        let named = self
            .only
            .as_ref()
            .is_none_or(|agents| agent.sprite == SpriteOwner::Agent && agents.contains(&agent.id));
        named && !self.answer.is_closed()
    }

    /// The statements that lease the run, to stand right behind those that begin it.
    pub(crate) fn statements(&self, edge: &Edge, scope: &Scope, newborn: &Newborn<'_>) -> [Statement; 3] {
        [
            scope.sql(
                "UPDATE runs SET phase = ?2, epoch = 1, next_seq = 2, runner = ?3, lease_id = ?4, due_at = ?5, \
                 updated_at = ?6 WHERE workspace_id = ?1 AND id = ?7 AND due_at <= ?6 AND NOT EXISTS (SELECT 1 \
                 FROM spent_tokens WHERE workspace_id = ?1 AND id IN (?4, ?8)) AND EXISTS (SELECT 1 FROM runners \
                 WHERE workspace_id = ?1 AND name = ?3 AND token_id = ?8) RETURNING id",
                [
                    Phase::Running.as_str().into(),
                    self.runner.as_str().into(),
                    self.poll.into(),
                    (newborn.now + edge.settings.lease).into(),
                    newborn.now.into(),
                    newborn.run.into(),
                    self.token.into(),
                ],
            ),
            scope.sql(
                "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT workspace_id, id, 1, 1, ?3, ?4 \
                 FROM runs WHERE workspace_id = ?1 AND id = ?5 AND lease_id = ?2",
                [
                    self.poll.into(),
                    newborn.now.into(),
                    serde_json::to_string(&self.leased()).unwrap_or_default().into(),
                    newborn.run.into(),
                ],
            ),
            journal::history(scope, self.poll),
        ]
    }

    fn leased(&self) -> EventBody {
        EventBody::Leased {
            runner: self.runner.clone(),
        }
    }

    /// Hands the poll what the statements came to. Whether the run is leased now.
    pub(crate) fn answer(
        self,
        edge: &Arc<Edge>,
        scope: &Scope,
        newborn: Newborn<'_>,
        results: &[Rows],
    ) -> Result<bool, DbError> {
        let [leased, _, history] = results else {
            return Err(DbError::Sql("the database answered with too few results".into()));
        };
        if leased.is_empty() {
            // If this was the last of the offer, the poll hears that it is gone, and looks again.
            return Ok(false);
        }
        fail_point::reach(FailPoint::RunsLeased);
        let run = newborn.run;
        let lease = self.lease(newborn, history)?;
        edge.bells.ring(&Topic::Journal(run), usize::MAX);
        let (poll, token) = (self.poll, self.token);
        if self.answer.unbounded_send(lease).is_err() {
            withdraw::unheard(edge, scope, poll, token);
        }
        Ok(true)
    }

    fn lease(&self, newborn: Newborn<'_>, history: &Rows) -> Result<Lease, DbError> {
        let Newborn { run, agent, now, .. } = newborn;
        let event = |seq, body| Event {
            seq,
            epoch: seq,
            at: now,
            body,
        };
        Ok(Lease {
            run,
            epoch: 1,
            sprite: agent.sprite.sprite(agent.id, run),
            agent: agent.clone(),
            git_origin: newborn.settings.git_origin(),
            journal: vec![event(0, newborn.opened), event(1, self.leased())],
            history: journal::exchanges_of(run, history)?,
            signals: Vec::new(),
        })
    }
}
