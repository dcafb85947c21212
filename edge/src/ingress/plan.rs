//! The one batch a webhook becomes: delivery, dedupe key, conversation, work item, runs and the acknowledgement.
//!
//! Invariant: all of it is written, or nothing; and nothing when the provider's event is stored already.

use http::HeaderMap;
use roost_shared::{
    ConversationId, DeliveryId, EffectId, RunId, SignalId, UnixMillis, WorkItemId,
    agent::AgentSpec,
    effect::Effect,
    work::{ReplyTo, WorkItem},
};

use super::{
    channel::{Heard, Verified},
    conversation::conversation_id,
    lane::Placing,
};
use crate::{
    config::Config,
    db::{DbError, Rows, Scope, Statement, Value},
    edge::Edge,
    error::ApiError,
    integration::Integration,
    outbox::queue,
    runs::offer::{Newborn, Offer},
};

/// The refusal when the provider's event is already stored.
pub(super) const DUPLICATE: &str = "duplicate";

/// Headers that are credentials, and are not stored.
const SECRET_HEADERS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-telegram-bot-api-secret-token",
];

/// A delivery about to be written.
pub(super) struct Plan<'a> {
    pub(super) edge: &'a Edge,
    pub(super) scope: &'a Scope,
    pub(super) config: &'a Config,
    pub(super) integration: &'a Integration,
    pub(super) delivery: DeliveryId,
    pub(super) now: UnixMillis,
}

/// What is believed of a message's lanes. Most are empty, and what begins in an empty lane is written with few statements;
/// the belief is a guard of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lanes {
    /// No run is open in any of them.
    Empty,
    /// One may be.
    Open,
}

/// What follows from a message.
pub(super) struct Work<'a> {
    /// What must hold for it.
    pub(super) guards: Vec<Statement>,
    /// The statements.
    pub(super) batch: Vec<Statement>,
    /// Where it goes, per agent.
    pub(super) placed: Vec<Placed>,
    /// The poll that leases the run at once, and where in `batch` it does.
    pub(super) offered: Option<(Offer, Newborn<'a>, usize)>,
}

/// Where a message goes for one agent.
pub(super) struct Placed {
    /// The run it begins, if it begins one.
    run: RunId,
    /// The statement whose row names the run it joined instead, if it may have.
    join: Option<usize>,
}

impl Placed {
    /// The runs that take the message up, given the results of the batch.
    pub(super) fn taken(placed: &[Placed], results: &[Rows]) -> Result<Taken, DbError> {
        let mut taken = Taken::default();
        for Placed { run, join } in placed {
            let row = join
                .and_then(|join| results.get(join))
                .and_then(|rows| rows.first());
            match row {
                Some(row) => taken.joined.push(row.parse(0)?),
                None => taken.begun.push(*run),
            }
        }
        Ok(taken)
    }
}

/// The runs that take a message up.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Those it began.
    pub(super) begun: Vec<RunId>,
    /// Those it joined.
    pub(super) joined: Vec<RunId>,
}

impl<'a> Plan<'a> {
    /// What must hold for the delivery to be written.
    pub(super) fn guards(&self, verified: &Verified) -> Vec<Statement> {
        vec![
            self.config.guard(self.scope),
            self.scope.guard(
                DUPLICATE,
                "SELECT 1 WHERE ?1 IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM deliveries WHERE integration_id = ?2 AND dedupe_key = ?3)",
                [self.integration.id.into(), verified.dedupe_key.as_str().into()],
            ),
        ]
    }

    /// The delivery itself.
    pub(super) fn delivery(
        &self,
        verified: &Verified,
        headers: &HeaderMap,
        body: &[u8],
        ignored: Option<&str>,
    ) -> Statement {
        let verdict = if ignored.is_some() { "ignored" } else { "accepted" };
        self.scope.sql(
            "INSERT INTO deliveries (workspace_id, id, integration_id, dedupe_key, verdict, reason, headers, body, \
             received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            [
                self.delivery.into(),
                self.integration.id.into(),
                verified.dedupe_key.as_str().into(),
                verdict.into(),
                ignored.into(),
                stored_headers(headers).into(),
                super::body::pack(body).into(),
                self.now.into(),
            ],
        )
    }

    /// The work item of what was heard.
    pub(super) fn item(&self, heard: Heard) -> WorkItem {
        WorkItem {
            id: WorkItemId::new(self.now, self.edge.entropy()),
            integration: self.integration.id,
            kind: heard.kind,
            actor: heard.actor,
            conversation: heard.conversation,
            text: heard.text,
            context: heard.context,
            reply_to: heard.reply_to,
            received_at: self.now,
        }
    }

    /// What follows from a message that some agents listen to.
    pub(super) fn work(
        &self,
        item: &WorkItem,
        agents: &[&'a AgentSpec],
        lanes: Lanes,
    ) -> Result<Work<'a>, ApiError> {
        let conversation = conversation_id(self.integration.id, &item.conversation.key);
        let stored = vec![
            self.conversation(conversation, item),
            self.work_item(conversation, item),
        ];
        let mut work = self.place(stored, item, agents, lanes)?;
        work.batch.extend(self.acknowledgement(item)?);
        Ok(work)
    }

    /// What brings a work item to agents, after the statements that store it, if it is not stored.
    pub(super) fn place(
        &self,
        stored: Vec<Statement>,
        item: &WorkItem,
        agents: &[&'a AgentSpec],
        lanes: Lanes,
    ) -> Result<Work<'a>, ApiError> {
        let conversation = conversation_id(self.integration.id, &item.conversation.key);
        let mut work = Work {
            guards: Vec::new(),
            offered: None,
            batch: stored,
            placed: Vec::new(),
        };
        for agent in agents {
            let placing = Placing {
                plan: self,
                agent,
                conversation,
                item,
                run: RunId::new(self.now, self.edge.entropy()),
                signal: SignalId::new(self.now, self.edge.entropy()),
            };
            work.placed.push(Placed {
                run: placing.run,
                join: (lanes == Lanes::Open).then_some(work.batch.len()),
            });
            match lanes {
                Lanes::Open => work.batch.extend(placing.statements()?),
                Lanes::Empty => {
                    work.guards.push(placing.lane_is_empty());
                    work.batch.extend(placing.begin_first());
                    if let [_] = agents {
                        self.offer(&mut work, placing.newborn());
                    }
                }
            }
        }
        Ok(work)
    }

    /// Lets a poll that waits for a run lease this one at once.
    fn offer(&self, work: &mut Work<'a>, newborn: Newborn<'a>) {
        if let Some(offer) = self.edge.offers.take(self.scope.workspace(), newborn.agent) {
            let at = work.batch.len();
            work.batch
                .extend(offer.statements(self.edge, self.scope, &newborn));
            work.offered = Some((offer, newborn, at));
        }
    }

    fn conversation(&self, id: ConversationId, item: &WorkItem) -> Statement {
        self.scope.sql(
            "INSERT INTO conversations (workspace_id, id, integration_id, key, title, url, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (id) DO UPDATE SET title = excluded.title, url = excluded.url \
             WHERE title <> excluded.title OR url IS NOT excluded.url",
            [
                id.into(),
                item.integration.into(),
                item.conversation.key.as_str().into(),
                item.conversation.title.as_str().into(),
                item.conversation.url.clone().into(),
                self.now.into(),
            ],
        )
    }

    pub(super) fn work_item(&self, conversation: ConversationId, item: &WorkItem) -> Statement {
        self.scope.sql(
            "INSERT INTO work_items (workspace_id, id, delivery_id, conversation_id, kind, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            [
                item.id.into(),
                self.delivery.into(),
                conversation.into(),
                item.kind.as_str().into(),
                self.now.into(),
            ],
        )
    }

    fn acknowledgement(&self, item: &WorkItem) -> Result<Option<Statement>, ApiError> {
        if matches!(item.reply_to, ReplyTo::Generic { .. }) {
            return Ok(None);
        }
        let effect = Effect::Acknowledge {
            to: item.reply_to.clone(),
        };
        let queued = queue::Queued {
            id: EffectId::new(self.now, self.edge.entropy()),
            integration: item.integration,
            run: None,
            // A stream of its own: no reply waits for a sign of life.
            stream: format!("ack/{}", self.delivery),
            idempotency_key: format!("{}/ack", self.delivery),
            effect,
        };
        queued.insert(self.scope, self.now).map(Some)
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<Value, ApiError> {
    let text = serde_json::to_string(value).map_err(|error| {
        ApiError::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    })?;
    Ok(text.into())
}

fn stored_headers(headers: &HeaderMap) -> String {
    let kept: serde_json::Map<String, serde_json::Value> = headers
        .iter()
        .filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    serde_json::Value::Object(kept).to_string()
}
