//! Notices: what waits for a person, now.

use std::sync::Arc;

use axum::{Json, extract::State};
use roost_shared::UnixMillis;
use serde::Serialize;

use super::{
    integrations::{self, All},
    runners::PRESENT,
    runs::IntegrationRef,
};
use crate::{
    auth::session::Person,
    db::{Scope, Statement},
    edge::Edge,
    error::ApiError,
};

/// Effects and runs counted at most: beyond, the number tells nothing more.
const COUNTED: u32 = 1_000;

/// One thing that waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// `sending_paused`, `no_runner`, `runs_wait`, `effects_wait` or `sweep_warns`.
    pub kind: &'static str,
    /// The integration it is about.
    pub integration: Option<IntegrationRef>,
    /// Since when.
    pub since: Option<UnixMillis>,
    /// What is the matter and what to do.
    pub message: String,
}

/// `GET /api/v1/notices`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    person: Person,
) -> Result<Json<All<Notice>>, ApiError> {
    let items = all(&edge, &person).await?;
    Ok(Json(All { items }))
}

/// All that waits for a person, the gravest first.
pub(crate) async fn all(edge: &Edge, person: &Person) -> Result<Vec<Notice>, ApiError> {
    let (mut notices, mut warnings) = (Vec::new(), Vec::new());
    for one in integrations::all(edge, &person.scope).await? {
        let about = IntegrationRef {
            id: one.id,
            name: one.name.clone(),
            channel: one.settings.channel().to_owned(),
        };
        if let Some(since) = one.sending.paused_at.filter(|_| one.enabled) {
            let reason = one.sending.reason.as_deref().unwrap_or("it failed too often");
            notices.push(Notice {
                kind: "sending_paused",
                message: format!(
                    "sending by {} is paused, and its replies wait: {reason}; mend that, then resume it",
                    one.name
                ),
                integration: Some(about.clone()),
                since: Some(since),
            });
        }
        if let (true, Some(sweep)) = (one.enabled, one.sweep)
            && let Some(warning) = sweep.warning
        {
            warnings.push(Notice {
                kind: "sweep_warns",
                message: format!("deliveries by {}: {warning}", one.name),
                integration: Some(about),
                since: None,
            });
        }
    }
    notices.extend(counted(edge, &person.scope).await?);
    notices.extend(warnings);
    Ok(notices)
}

/// What is counted, for one notice.
struct Counting {
    kind: &'static str,
    /// One row: how many there are, and since when.
    statement: Statement,
    message: fn(u64) -> String,
}

/// Runs that have waited for a while for a runner, and none is there.
fn no_runner(edge: &Edge, scope: &Scope) -> Counting {
    Counting {
        kind: "no_runner",
        statement: scope.sql(
            "SELECT count(*), min(due_at) FROM (SELECT due_at FROM runs INDEXED BY runs_due WHERE workspace_id = ?1 \
             AND agent_id IN (SELECT id FROM agents WHERE workspace_id = ?1) AND phase IN ('queued', 'running') \
             AND due_at <= ?2 AND NOT EXISTS (SELECT 1 FROM runners n WHERE n.workspace_id = ?1 AND n.seen_at > ?2) \
             LIMIT ?3 + 0)",
            [(edge.now() - PRESENT).into(), COUNTED.into()],
        ),
        message: |count| match count {
            1 => "a run waits for a runner, and none is there: start one".to_owned(),
            count => format!("{count} runs wait for a runner, and none is there: start one"),
        },
    }
}

/// Runs that only a person lets go on; those that somebody paused wait because somebody wanted it.
fn runs_wait(scope: &Scope) -> Counting {
    Counting {
        kind: "runs_wait",
        statement: scope.sql(
            "SELECT count(*), min(updated_at) FROM (SELECT updated_at FROM runs INDEXED BY runs_waiting \
             WHERE workspace_id = ?1 AND phase = 'waiting' AND waits IN ('asked', 'poisoned') LIMIT ?2 + 0)",
            [COUNTED.into()],
        ),
        message: |count| match count {
            1 => "a run waits for a person: open it to see what it wants".to_owned(),
            count => format!("{count} runs wait for a person: open them to see what they want"),
        },
    }
}

/// Effects only a person can tell of.
fn effects_wait(scope: &Scope) -> Counting {
    Counting {
        kind: "effects_wait",
        statement: scope.sql(
            "SELECT count(*), min(updated_at) FROM (SELECT updated_at FROM effects INDEXED BY effects_dead \
             WHERE workspace_id = ?1 AND state = 'unknown' AND state IN ('failed', 'unknown') AND due_at IS NULL \
             LIMIT ?2 + 0)",
            [COUNTED.into()],
        ),
        message: |count| match count {
            1 => "nobody knows whether one reply arrived: look in its channel, then say so".to_owned(),
            count => {
                format!("nobody knows whether {count} replies arrived: look in their channels, then say so")
            }
        },
    }
}

/// The notices of what there is anything of, by one look.
async fn counted(edge: &Edge, scope: &Scope) -> Result<Vec<Notice>, ApiError> {
    let countings = [no_runner(edge, scope), runs_wait(scope), effects_wait(scope)];
    let statements = countings.iter().map(|one| one.statement.clone()).collect();
    let results = scope.read(statements).await?;
    let mut notices = Vec::new();
    for (counting, rows) in countings.iter().zip(&results) {
        let Some(row) = rows.first() else { continue };
        let count = row.unsigned(0)?;
        if count > 0 {
            notices.push(Notice {
                kind: counting.kind,
                integration: None,
                since: row.optional_integer(1)?.map(UnixMillis),
                message: (counting.message)(count),
            });
        }
    }
    Ok(notices)
}
