//! Where a message goes in its lane: into an open run, or into a run of its own. Decided in SQL, inside the batch that stores
//! the delivery, so that no other message and no runner can come between the look and the write.
//!
//! Invariant: a message becomes exactly one signal or exactly one run per agent; and it joins only a run that was begun by
//! somebody the channel vouches for as far, but for a member's answer to a question.

use roost_shared::{
    ConversationId, RunId, SignalId, UnixMillis,
    agent::{AgentSpec, LaneRules},
    event::{Change, EventBody},
    run::Phase,
    wire::SignalBody,
    work::{Trust, WorkItem},
};

use super::plan::{Plan, json};
use crate::{
    db::{Scope, Statement, Value},
    error::ApiError,
    runs::{journal, offer::Newborn},
};

/// A message for one agent, and the statements that place it.
pub(super) struct Placing<'p, 'a> {
    pub(super) plan: &'p Plan<'a>,
    pub(super) agent: &'a AgentSpec,
    pub(super) conversation: ConversationId,
    pub(super) item: &'p WorkItem,
    /// The run's id, if it gets one of its own.
    pub(super) run: RunId,
    /// The signal's id, if it joins another.
    pub(super) signal: SignalId,
}

/// The refusal when a run is open in a lane that was believed to be empty.
pub(super) const LANE_OPEN: &str = "lane_open";

impl<'a> Placing<'_, 'a> {
    /// The guard that no run is open in the lane.
    pub(super) fn lane_is_empty(&self) -> Statement {
        self.scope().guard(
            LANE_OPEN,
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM runs WHERE workspace_id = ?1 AND conversation_id = ?2 \
             AND agent_id = ?3 AND phase IN ('queued', 'running', 'parked', 'waiting'))",
            [self.conversation.into(), self.agent.id.into()],
        )
    }

    /// A run of its own, in a lane that is empty.
    pub(super) fn begin_first(&self) -> [Statement; 2] {
        [
            self.scope().sql(
                "INSERT INTO runs (workspace_id, id, work_item_id, agent_id, agent_version, conversation_id, \
                 integration_id, trust, phase, next_seq, due_at, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11, ?11)",
                self.row(),
            ),
            journal::insert(self.scope(), self.run, 0, 0, self.plan.now, &self.opened()),
        ]
    }

    /// The run, for whoever leases it as it begins.
    pub(super) fn newborn(&self) -> Newborn<'a> {
        Newborn {
            run: self.run,
            agent: self.agent,
            opened: self.opened(),
            settings: &self.plan.integration.settings,
            now: self.plan.now,
        }
    }

    fn opened(&self) -> EventBody {
        EventBody::Opened {
            work_item: Box::new(self.item.clone()),
            agent: self.agent.id,
            agent_version: self.agent.version,
        }
    }

    /// The run's row, but for the workspace.
    fn row(&self) -> [Value; 10] {
        [
            self.run.into(),
            self.item.id.into(),
            self.agent.id.into(),
            self.agent.version.into(),
            self.conversation.into(),
            self.item.integration.into(),
            self.item.actor.trust.as_str().into(),
            Phase::Queued.as_str().into(),
            self.due_at().into(),
            self.plan.now.into(),
        ]
    }

    /// The statements; the rows of the first one name the run it joined, if it joined one.
    pub(super) fn statements(&self) -> Result<Vec<Statement>, ApiError> {
        let mut statements = vec![self.join()?, self.joined()];
        if self.item.actor.trust == Trust::Member {
            statements.extend(self.wake());
        }
        if self.agent.lane.debounce_ms > 0 {
            statements.push(self.wait_anew());
        }
        statements.extend(self.begin()?);
        Ok(statements)
    }

    fn scope(&self) -> &Scope {
        self.plan.scope
    }

    fn join(&self) -> Result<Statement, ApiError> {
        let body = SignalBody::Steer {
            change: Change::Said,
            work_item: Box::new(self.item.clone()),
        };
        Ok(self.scope().sql(
            "INSERT INTO signals (workspace_id, id, run_id, kind, body, created_at) SELECT ?1, ?2, r.id, 'steer', ?3, ?4 \
             FROM runs r WHERE r.workspace_id = ?1 AND r.conversation_id = ?5 AND r.agent_id = ?6 \
             AND r.phase IN ('queued', 'running', 'parked', 'waiting') AND (r.waits = 'asked' AND ?7 = 'member' \
             OR r.trust = ?7 AND r.waits IS NOT 'poisoned' AND CASE ?8 WHEN 'steer' THEN 1 \
             WHEN 'collect' THEN r.phase = 'queued' AND r.epoch = 0 \
             ELSE r.phase = 'queued' AND r.epoch = 0 AND r.due_at > ?4 END) \
             ORDER BY r.waits IS 'asked' DESC, r.id DESC LIMIT 1 RETURNING run_id",
            [
                self.signal.into(),
                json(&body)?,
                self.plan.now.into(),
                self.conversation.into(),
                self.agent.id.into(),
                self.item.actor.trust.as_str().into(),
                self.agent.lane.mode.as_str().into(),
            ],
        ))
    }

    fn joined(&self) -> Statement {
        self.scope().sql(
            "INSERT INTO joined (work_item_id, run_id, workspace_id) SELECT ?3, run_id, workspace_id FROM signals \
             WHERE workspace_id = ?1 AND id = ?2",
            [self.signal.into(), self.item.id.into()],
        )
    }

    /// The run had asked, and this is the answer: it goes on.
    fn wake(&self) -> [Statement; 2] {
        let resumed = EventBody::Resumed {
            by: self.item.actor.name.clone(),
        };
        [
            self.scope().sql(
                "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT r.workspace_id, r.id, r.next_seq, \
                 r.epoch, ?3, ?4 FROM signals s JOIN runs r ON r.id = s.run_id \
                 WHERE s.workspace_id = ?1 AND s.id = ?2 AND r.waits = 'asked'",
                [
                    self.signal.into(),
                    self.plan.now.into(),
                    serde_json::to_string(&resumed).unwrap_or_default().into(),
                ],
            ),
            self.scope().sql(
                "UPDATE runs SET phase = 'queued', waits = NULL, crashes = 0, next_seq = next_seq + 1, due_at = ?3, updated_at = ?3 \
                 WHERE workspace_id = ?1 AND id = (SELECT run_id FROM signals WHERE id = ?2) AND waits = 'asked'",
                [self.signal.into(), self.plan.now.into()],
            ),
        ]
    }

    /// A run that has not begun waits anew for further messages, but not for ever.
    fn wait_anew(&self) -> Statement {
        let debounce = self.agent.lane.debounce_ms;
        self.scope().sql(
            "UPDATE runs SET due_at = max(due_at, min(?3, created_at + ?4)) WHERE workspace_id = ?1 \
             AND id = (SELECT run_id FROM signals WHERE id = ?2) AND phase = 'queued' AND epoch = 0",
            [
                self.signal.into(),
                self.due_at().into(),
                (debounce * LaneRules::MOST_WAITS).into(),
            ],
        )
    }

    fn due_at(&self) -> UnixMillis {
        self.plan.now + std::time::Duration::from_millis(self.agent.lane.debounce_ms.into())
    }

    /// A run of its own, unless it joined one.
    fn begin(&self) -> Result<[Statement; 2], ApiError> {
        Ok([
            self.scope().sql(
                "INSERT INTO runs (workspace_id, id, work_item_id, agent_id, agent_version, conversation_id, \
                 integration_id, trust, phase, next_seq, due_at, created_at, updated_at) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11, ?11 \
                 WHERE NOT EXISTS (SELECT 1 FROM signals WHERE id = ?12)",
                self.row().into_iter().chain([self.signal.into()]),
            ),
            self.scope().sql(
                "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) SELECT ?1, ?2, 0, 0, ?3, ?4 \
                 WHERE NOT EXISTS (SELECT 1 FROM signals WHERE id = ?5)",
                [
                    self.run.into(),
                    self.plan.now.into(),
                    json(&self.opened())?,
                    self.signal.into(),
                ],
            ),
        ])
    }
}
