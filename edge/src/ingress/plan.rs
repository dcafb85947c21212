//! The one batch a webhook becomes: delivery, dedupe key, conversation, work item, runs and the acknowledgement.

use http::HeaderMap;
use roost_shared::{
    ConversationId, DeliveryId, EffectId, IntegrationId, RunId, UnixMillis, WorkItemId,
    agent::AgentSpec,
    effect::Effect,
    event::EventBody,
    run::Phase,
    work::{ReplyTo, WorkItem},
};
use sha2::{Digest, Sha256};

use super::channel::{Heard, Verified};
use crate::{
    config::Config,
    db::{Scope, Statement, Value},
    edge::Edge,
    error::ApiError,
    integration::Integration,
    outbox::queue,
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

impl Plan<'_> {
    /// The batch's beginning: its guards and the delivery itself.
    pub(super) fn delivery(
        &self,
        verified: &Verified,
        headers: &HeaderMap,
        body: &[u8],
        ignored: Option<&str>,
    ) -> Vec<Statement> {
        let integration = self.integration.id;
        let verdict = if ignored.is_some() { "ignored" } else { "accepted" };
        vec![
            self.config.guard(self.scope),
            self.scope.guard(
                DUPLICATE,
                "SELECT 1 WHERE ?1 IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM deliveries WHERE integration_id = ?2 AND dedupe_key = ?3)",
                [integration.into(), verified.dedupe_key.as_str().into()],
            ),
            self.scope.sql(
                "INSERT INTO deliveries (workspace_id, id, integration_id, dedupe_key, verdict, reason, headers, body, \
                 received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                [
                    self.delivery.into(),
                    integration.into(),
                    verified.dedupe_key.as_str().into(),
                    verdict.into(),
                    ignored.into(),
                    stored_headers(headers).into(),
                    super::body::pack(body).into(),
                    self.now.into(),
                ],
            ),
        ]
    }

    /// What follows from a message that some agents listen to; and the runs it opens.
    pub(super) fn work(
        &self,
        heard: Heard,
        agents: &[&AgentSpec],
    ) -> Result<(Vec<Statement>, Vec<RunId>), ApiError> {
        let work_item = WorkItem {
            id: WorkItemId::new(self.now, self.edge.entropy()),
            integration: self.integration.id,
            kind: heard.kind,
            actor: heard.actor,
            conversation: heard.conversation,
            text: heard.text,
            context: heard.context,
            reply_to: heard.reply_to,
            received_at: self.now,
        };
        let conversation = conversation_id(self.integration.id, &work_item.conversation.key);
        let mut batch = vec![
            self.conversation(conversation, &work_item),
            self.work_item(conversation, &work_item),
        ];
        let mut runs = Vec::new();
        for agent in agents {
            let run = RunId::new(self.now, self.edge.entropy());
            batch.extend(self.run(run, agent, conversation, &work_item)?);
            runs.push(run);
        }
        batch.extend(self.acknowledgement(&work_item)?);
        Ok((batch, runs))
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

    fn work_item(&self, conversation: ConversationId, item: &WorkItem) -> Statement {
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

    fn run(
        &self,
        run: RunId,
        agent: &AgentSpec,
        conversation: ConversationId,
        item: &WorkItem,
    ) -> Result<[Statement; 2], ApiError> {
        let opened = EventBody::Opened {
            work_item: Box::new(item.clone()),
            agent: agent.id,
            agent_version: agent.version,
        };
        Ok([
            self.scope.sql(
                "INSERT INTO runs (workspace_id, id, work_item_id, agent_id, agent_version, conversation_id, \
                 integration_id, phase, next_seq, due_at, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?9, ?9)",
                [
                    run.into(),
                    item.id.into(),
                    agent.id.into(),
                    agent.version.into(),
                    conversation.into(),
                    item.integration.into(),
                    Phase::Queued.as_str().into(),
                    self.now.into(),
                ],
            ),
            self.scope.sql(
                "INSERT INTO events (workspace_id, run_id, seq, epoch, at, body) VALUES (?1, ?2, 0, 0, ?3, ?4)",
                [run.into(), self.now.into(), json(&opened)?],
            ),
        ])
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

/// The conversation's id follows from its key, so that no look-up is needed to write it.
pub(crate) fn conversation_id(integration: IntegrationId, key: &str) -> ConversationId {
    let digest = Sha256::new()
        .chain_update(integration.to_string())
        .chain_update([0])
        .chain_update(key)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    ConversationId::from_bytes(bytes)
}

fn json(value: &impl serde::Serialize) -> Result<Value, ApiError> {
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
