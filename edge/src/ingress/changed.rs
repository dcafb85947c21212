//! Messages that were edited or deleted: who is told of it.
//!
//! Invariant: every open run that has the message is told, or, where it has not begun and was begun by nothing else, is
//! cancelled; a message that no run has read yet is taken back. It is decided by what was read, and written only if that
//! still holds.

use std::{collections::BTreeMap, sync::Arc};

use roost_shared::{
    ConversationId, RunId, SignalId,
    event::{Change, EventBody},
    run::{Phase, Waits},
    wire::SignalBody,
    work::WorkItem,
};
use serde::Deserialize;

use super::{channel::Heard, conversation::conversation_id, plan::Plan};
use crate::{
    db::{Row, Statement, Value},
    edge::Edge,
    error::ApiError,
    runs::{
        control::{self, Stand},
        signal,
    },
};

/// The statements of a change, and the runs that it reaches.
pub(super) struct Told {
    pub(super) batch: Vec<Statement>,
    pub(super) runs: Vec<RunId>,
}

/// An open run of the conversation, as far as it has the message.
struct Holder {
    stand: Stand,
    /// The message began the run.
    began: bool,
    /// The run has read it.
    read: bool,
    /// It waits to be read.
    waiting: Vec<SignalId>,
    /// Other messages wait to be read.
    others: bool,
}

#[derive(Deserialize)]
struct Saying {
    work_item: WorkItem,
}

impl Plan<'_> {
    /// What follows from a change of a message; nothing where no open run has it.
    pub(super) async fn changed(
        &self,
        edge: &Arc<Edge>,
        change: Change,
        heard: Heard,
    ) -> Result<Option<Told>, ApiError> {
        let item = self.item(heard);
        let conversation = conversation_id(self.integration.id, &item.conversation.key);
        let Some(message) = item.message() else {
            return Ok(None);
        };
        let holders = self.holders(conversation, &message).await?;
        let runs: Vec<RunId> = holders.keys().copied().collect();
        if runs.is_empty() {
            return Ok(None);
        }
        let mut batch = vec![self.work_item(conversation, &item)];
        for (run, holder) in &holders {
            batch.push(self.scope.sql(
                "INSERT INTO joined (work_item_id, run_id, workspace_id) VALUES (?2, ?3, ?1)",
                [item.id.into(), (*run).into()],
            ));
            batch.extend(match change {
                Change::Deleted => self.deleted(edge, *run, holder, &item),
                Change::Said | Change::Edited => self.tell(edge, *run, holder, change, &item),
            });
        }
        Ok(Some(Told { batch, runs }))
    }

    fn tell(
        &self,
        edge: &Edge,
        run: RunId,
        holder: &Holder,
        change: Change,
        item: &WorkItem,
    ) -> Vec<Statement> {
        let body = SignalBody::Steer {
            change,
            work_item: Box::new(item.clone()),
        };
        vec![
            control::still(self.scope, run, &holder.stand),
            signal::send(edge, self.scope, run, &body),
        ]
    }

    fn deleted(&self, edge: &Edge, run: RunId, holder: &Holder, item: &WorkItem) -> Vec<Statement> {
        let mut batch = Vec::new();
        if !holder.waiting.is_empty() {
            batch.extend(signal::take_in(self.scope, run, &holder.waiting));
        }
        let has_begun = holder.stand.phase != Phase::Queued || holder.stand.epoch > 0;
        if holder.began && !has_begun && !holder.others {
            let event = EventBody::Cancelled {
                by: item.actor.name.clone(),
                reason: Some("the message was deleted before work on it had begun".into()),
            };
            batch.extend(control::write(edge, self.scope, run, &holder.stand, &event));
        } else if holder.began || holder.read {
            batch.extend(self.tell(edge, run, holder, Change::Deleted, item));
        }
        batch
    }

    /// The open runs that have the message.
    async fn holders(
        &self,
        conversation: ConversationId,
        message: &str,
    ) -> Result<BTreeMap<RunId, Holder>, ApiError> {
        let about = |tail| {
            let arguments: [Value; 1] = [conversation.into()];
            self.scope.sql(tail, arguments)
        };
        let results = self
            .scope
            .read(vec![
                about(
                    "SELECT r.id, r.phase, r.waits, r.next_seq, r.epoch, e.body, e.seq FROM runs r JOIN events e \
                     ON e.run_id = r.id AND (e.seq = 0 OR e.body LIKE '{\"type\":\"steered\"%') WHERE r.workspace_id = ?1 \
                     AND r.conversation_id = ?2 AND r.phase IN ('queued', 'running', 'parked', 'waiting') \
                     ORDER BY r.id, e.seq",
                ),
                about(
                    "SELECT s.run_id, s.id, s.body FROM runs r JOIN signals s ON s.run_id = r.id AND s.kind = 'steer' \
                     WHERE r.workspace_id = ?1 AND r.conversation_id = ?2 \
                     AND r.phase IN ('queued', 'running', 'parked', 'waiting')",
                ),
            ])
            .await?;
        let is_it = |item: &WorkItem| item.message().as_deref() == Some(message);
        let mut holders = BTreeMap::new();
        for row in results.first().into_iter().flatten() {
            let saying: Saying = row.json(5)?;
            let holder = match holders.entry(row.parse(0)?) {
                std::collections::btree_map::Entry::Vacant(place) => place.insert(holder(row)?),
                std::collections::btree_map::Entry::Occupied(place) => place.into_mut(),
            };
            match row.unsigned(6)? {
                0 => holder.began = is_it(&saying.work_item),
                _ => holder.read |= is_it(&saying.work_item),
            }
        }
        for row in results.get(1).into_iter().flatten() {
            let saying: Saying = row.json(2)?;
            if let Some(holder) = holders.get_mut(&row.parse(0)?) {
                match is_it(&saying.work_item) {
                    true => holder.waiting.push(row.parse(1)?),
                    false => holder.others = true,
                }
            }
        }
        holders.retain(|_, holder| holder.began || holder.read || !holder.waiting.is_empty());
        Ok(holders)
    }
}

fn holder(row: &Row) -> Result<Holder, ApiError> {
    let phase = Phase::from_name(row.text(1)?).ok_or_else(|| ApiError::not_found("run"))?;
    Ok(Holder {
        stand: Stand {
            phase,
            waits: row.optional_text(2)?.and_then(Waits::from_name),
            next_seq: row.unsigned(3)?,
            epoch: row.unsigned(4)?,
        },
        began: false,
        read: false,
        waiting: Vec::new(),
        others: false,
    })
}
