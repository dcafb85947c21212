//! The sweeper of missed deliveries: from time to time each channel is asked what it could not deliver, and what is not here
//! yet is brought in.
//!
//! Invariant: at most one sweep of an integration is written down at a time, by a number that counts up with every take; two
//! at once, after a take-over, bring in nothing twice, for the provider's id of an event decides that in the batch.

mod github;
mod telegram;

use std::{sync::Arc, time::Duration};

use roost_shared::{IntegrationId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    config::StoredIntegration,
    db::{DbError, Row, Scope, Statement},
    edge::Edge,
    integration::{Secrets, Settings},
    once,
    outbox::channel::Outcome,
};

/// How often an integration is swept.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// How long a sweep may take before another edge takes it over.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// A new integration's first sweep looks so many milliseconds behind its beginning: clocks differ, and some tell whole
/// seconds.
const CLOCKS: i64 = 60_000;

/// What the last sweep of an integration came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// When it was.
    pub at: UnixMillis,
    /// Deliveries it looked at.
    pub looked_at: u64,
    /// Those of them it brought in.
    pub brought_in: u64,
    /// Those the channel failed to deliver and does not have any more.
    pub lost: u64,
    /// When a sweep last brought something in.
    pub brought_in_at: Option<UnixMillis>,
    /// Updates the channel still has to deliver by itself.
    pub pending: Option<u64>,
    /// When the channel was last told where to deliver.
    pub webhook_set_at: Option<UnixMillis>,
    /// What is wrong, and what to do.
    pub warning: Option<String>,
    /// What could be set up, so that missed deliveries can be found.
    pub hint: Option<String>,
}

/// A sweep that goes on where an earlier part of it ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    began_at: UnixMillis,
    /// The database was restored from a backup then: what was answered before may be missing here.
    restored_at: Option<UnixMillis>,
    /// Which of the integration's webhooks.
    source: usize,
    /// Its page.
    cursor: Option<String>,
    looked_at: u64,
    brought_in: u64,
    lost: u64,
}

/// Whether a sweep is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Last,
    MoreToCome,
}

/// A sweep that is ours.
struct Claimed {
    integration: IntegrationId,
    epoch: u64,
    since: UnixMillis,
    progress: Progress,
    report: Report,
}

/// What a channel's sweep has at hand.
struct Sweeping<'a> {
    edge: &'a Arc<Edge>,
    scope: &'a Scope,
    stored: &'a StoredIntegration,
    secrets: &'a Secrets,
    /// What came before is not looked at.
    since: UnixMillis,
}

/// Sweeps what is due, after the response.
pub(crate) fn soon(edge: &Arc<Edge>, scope: &Scope) {
    once::soon(edge, scope, &edge.sweeping, |edge, scope| async move {
        if let Err(error) = due(&edge, &scope).await {
            tracing::warn!("missed deliveries are looked for later: {error}");
        }
    });
}

/// Sweeps the integrations whose time has come, one after the other.
///
/// # Errors
/// When the database fails; what was claimed by then is taken over later.
pub(crate) async fn due(edge: &Arc<Edge>, scope: &Scope) -> Result<(), DbError> {
    while let Some(claimed) = claim(edge, scope).await? {
        let settled = sweep(edge, scope, claimed).await?;
        scope.write(vec![settled]).await?;
    }
    Ok(())
}

/// The statement by which an integration that is edited is swept at once, from its first webhook on, and one that is enabled
/// anew is not caught up with what came while it was disabled; to stand before the edit in its batch. A sweep by the
/// settings of before that is still at work writes nothing down any more.
pub(crate) fn edited(scope: &Scope, integration: IntegrationId, now: UnixMillis) -> Statement {
    scope.sql(
        "INSERT INTO sweeps (workspace_id, integration_id, due_at, epoch, since) \
         SELECT workspace_id, id, ?3, 0, CASE enabled WHEN 1 THEN created_at - ?4 ELSE ?3 END FROM integrations \
         WHERE workspace_id = ?1 AND id = ?2 ON CONFLICT (integration_id) DO UPDATE SET due_at = ?3, \
         epoch = epoch + 1, progress = json_set(progress, '$.source', 0, '$.cursor', NULL), since = max(since, CASE (SELECT enabled FROM integrations WHERE id = ?2) WHEN 1 THEN since ELSE ?3 END)",
        [integration.into(), now.into(), CLOCKS.into()],
    )
}

/// The statement by which the next sweep of every integration asks for all that was delivered since the last one that a
/// restored database knows of, also for what was answered.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn after_restore(now: UnixMillis) -> Statement {
    let progress = Progress {
        began_at: now,
        restored_at: Some(now),
        ..Progress::default()
    };
    Statement::new(
        "INSERT INTO sweeps (workspace_id, integration_id, due_at, epoch, since, progress) SELECT workspace_id, id, ?1, 1, \
         created_at - ?2, ?3 FROM integrations WHERE enabled = 1 AND settings ->> '$.channel' IN ('github', 'telegram') \
         ON CONFLICT (integration_id) DO UPDATE SET due_at = ?1, epoch = epoch + 1, progress = ?3",
        vec![
            now.into(),
            CLOCKS.into(),
            serde_json::to_string(&progress).unwrap_or_default().into(),
        ],
    )
}

async fn claim(edge: &Edge, scope: &Scope) -> Result<Option<Claimed>, DbError> {
    let now = edge.now();
    let due = scope
        .query(
            "SELECT 1 FROM integrations i LEFT JOIN sweeps s ON s.integration_id = i.id WHERE i.workspace_id = ?1 \
             AND i.enabled = 1 AND i.settings ->> '$.channel' IN ('github', 'telegram') \
             AND coalesce(s.due_at, 0) <= ?2 LIMIT 1",
            [now.into()],
        )
        .await?;
    if due.is_empty() {
        return Ok(None);
    }
    let batch = vec![
        scope.sql(
            "INSERT INTO sweeps (workspace_id, integration_id, due_at, epoch, since) SELECT workspace_id, id, ?2, 0, \
             created_at - ?3 FROM integrations WHERE workspace_id = ?1 AND enabled = 1 \
             AND settings ->> '$.channel' IN ('github', 'telegram') ON CONFLICT DO NOTHING",
            [now.into(), CLOCKS.into()],
        ),
        scope.sql(
            "UPDATE sweeps SET due_at = ?3, epoch = epoch + 1 WHERE integration_id = (SELECT s.integration_id \
             FROM sweeps s JOIN integrations i ON i.id = s.integration_id WHERE s.workspace_id = ?1 AND i.enabled = 1 \
             AND s.due_at <= ?2 ORDER BY s.due_at LIMIT 1) RETURNING integration_id, epoch, since, progress, report",
            [now.into(), (now + LEASE).into()],
        ),
    ];
    let results = scope.write(batch).await?;
    let row = results.get(1).and_then(|rows| rows.first());
    row.map(|row| claimed(row, now)).transpose()
}

fn claimed(row: &Row, now: UnixMillis) -> Result<Claimed, DbError> {
    let begun = row.optional_text(3)?.map(|_| row.json(3)).transpose()?;
    Ok(Claimed {
        integration: row.parse(0)?,
        epoch: row.unsigned(1)?,
        since: UnixMillis(row.integer(2)?),
        progress: begun.unwrap_or(Progress {
            began_at: now,
            ..Progress::default()
        }),
        report: row
            .optional_text(4)?
            .map(|_| row.json(4))
            .transpose()?
            .unwrap_or_default(),
    })
}

/// Sweeps one integration, and gives the statement that writes down what came of it.
async fn sweep(edge: &Arc<Edge>, scope: &Scope, mut claimed: Claimed) -> Result<Statement, DbError> {
    let config = edge.configs.reload(scope).await?;
    let mut report = Report {
        pending: None,
        warning: None,
        hint: None,
        ..claimed.report.clone()
    };
    let part = match config.by_id(claimed.integration) {
        Some(stored) => channel(edge, scope, stored, &mut claimed, &mut report).await,
        None => Ok(Part::Last),
    };
    let now = edge.now();
    let (due_at, since, progress) = match part {
        Ok(Part::Last) => (now + EVERY, claimed.progress.began_at - github::OVERLAP, None),
        Ok(Part::MoreToCome) => (now, claimed.since, Some(claimed.progress.clone())),
        Err(outcome) => {
            let (after, reason) = match outcome {
                Outcome::Retry { after, reason } => (after, reason),
                Outcome::Failed { reason, .. } | Outcome::Unknown { reason } => (None, reason),
                Outcome::Sent { .. } => (None, String::new()),
            };
            report.warning = Some(format!("missed deliveries could not be looked for: {reason}"));
            let pause = EVERY.max(after.unwrap_or_default());
            (now + pause, claimed.since, Some(claimed.progress.clone()))
        }
    };
    if claimed.progress.brought_in > 0 {
        report.brought_in_at = Some(now);
    }
    report.at = now;
    report.looked_at = claimed.progress.looked_at;
    report.brought_in = claimed.progress.brought_in;
    report.lost = claimed.progress.lost;
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    Ok(scope.sql(
        "UPDATE sweeps SET due_at = ?4, since = max(since, ?5), progress = ?6, report = ?7 WHERE workspace_id = ?1 \
         AND integration_id = ?2 AND epoch = ?3",
        [
            claimed.integration.into(),
            claimed.epoch.into(),
            due_at.into(),
            since.into(),
            progress
                .map(|progress| json(serde_json::to_string(&progress)))
                .into(),
            json(serde_json::to_string(&report)).into(),
        ],
    ))
}

async fn channel(
    edge: &Arc<Edge>,
    scope: &Scope,
    stored: &StoredIntegration,
    claimed: &mut Claimed,
    report: &mut Report,
) -> Result<Part, Outcome> {
    let secrets = stored.open(&edge.sealer).map_err(|error| Outcome::Failed {
        code: "secret_sealed",
        reason: error.to_string(),
    })?;
    let sweeping = Sweeping {
        edge,
        scope,
        stored,
        secrets: &secrets,
        since: claimed.since,
    };
    match &stored.integration.settings {
        Settings::Github(settings) => github::sweep(&sweeping, settings, &mut claimed.progress, report).await,
        Settings::Telegram(settings) => telegram::sweep(&sweeping, settings, report).await,
        Settings::Generic(_) => Ok(Part::Last),
    }
}
