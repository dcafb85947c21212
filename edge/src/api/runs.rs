//! Runs: what each is about, where it stands and what it has used up.

use axum::Json;
use roost_shared::{
    AgentId, ConversationId, DeliveryId, IntegrationId, MicroUsd, RunId, UnixMillis,
    question::Question,
    run::Phase,
    work::{Trust, WorkItem},
};
use serde::{Deserialize, Serialize};

use super::{
    effects::{self, EffectView},
    extract::{Id, Params},
    page::{Page, Position},
};
use crate::{
    auth::session::Person,
    db::{DbError, Row, ValueError},
    error::ApiError,
};

/// Which runs.
#[derive(Debug, Default, Deserialize)]
pub struct Query {
    /// Only those in this phase.
    #[serde(default)]
    pub phase: Option<String>,
    /// Only this agent's.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// The page before's `next`.
    #[serde(default)]
    pub cursor: Option<RunId>,
    /// Runs of a page, 1 to 200; 50 without.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A run as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// Where it stands: `queued`, `running`, `parked`, `waiting`, `completed`, `failed` or `cancelled`.
    pub phase: &'static str,
    /// What a `waiting` run wants of a person: `paused` (to be resumed), `asked` (an answer), `poisoned` (to be looked at).
    pub waits: Option<String>,
    /// Who works.
    pub agent: AgentRef,
    /// The integration it came in by.
    pub integration: IntegrationRef,
    /// The thread it belongs to.
    pub conversation: ConversationRef,
    /// What it was asked.
    pub asked: Asked,
    /// Model answers so far.
    pub turns: u64,
    /// Micro-dollars so far.
    pub cost: MicroUsd,
    /// Tokens so far, read and written.
    pub tokens: u64,
    /// The reply of a completed run, the code of a failed one.
    pub outcome: Option<String>,
    /// Who drives it, or did last.
    pub runner: Option<String>,
    /// How often it was leased.
    pub epoch: u64,
    /// The seq its next event will have.
    pub next_seq: u64,
    /// When something must happen to it: it may be leased, loses its lease, or is given up.
    pub due_at: Option<UnixMillis>,
    /// When it was opened.
    pub created_at: UnixMillis,
    /// When it last changed; for an ended run, when it ended.
    pub updated_at: UnixMillis,
}

/// An agent, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRef {
    /// Its id.
    pub id: AgentId,
    /// The version the run keeps.
    pub version: i64,
    /// What people call it in a channel.
    pub handle: String,
    /// What people read.
    pub name: String,
}

/// An integration, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrationRef {
    /// Its id.
    pub id: IntegrationId,
    /// Its name.
    pub name: String,
    /// `github`, `telegram` or `generic`.
    pub channel: String,
}

/// A conversation, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConversationRef {
    /// Its id.
    pub id: ConversationId,
    /// The channel's own key.
    pub key: String,
    /// What people call it; may be empty.
    pub title: String,
    /// Where people can read it.
    pub url: Option<String>,
}

/// What was said, and by whom. Text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The channel's own name of the event.
    pub kind: String,
    /// Who said it.
    pub by: String,
    /// How far the channel vouches for them.
    pub trust: Trust,
    /// Its first 280 characters.
    pub excerpt: String,
    /// The request it came in by.
    pub delivery: DeliveryId,
}

/// A run with what else is known of it.
#[derive(Debug, Serialize)]
pub struct RunDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub run: RunView,
    /// What it is about, whole.
    pub work_item: WorkItem,
    /// Who asked to cancel it, while its runner has not yet done so.
    pub cancel_asked_by: Option<String>,
    /// Who asked to pause it, while its runner has not yet done so.
    pub pause_asked_by: Option<String>,
    /// What it asked, while it waits for the answer.
    pub question: Option<Question>,
    /// Its replies and questions.
    pub effects: Vec<EffectView>,
}

macro_rules! select_runs {
    ($tail:literal) => {
        select_runs!("", $tail)
    };
    ($index:literal, $tail:expr) => {
        concat!(
            "SELECT r.id, r.phase, r.agent_id, r.agent_version, a.handle, v.spec ->> '$.name', r.integration_id, i.name, ",
            "i.settings ->> '$.channel', c.id, c.key, c.title, c.url, w.kind, e.body ->> '$.work_item.actor.name', ",
            "e.body -> '$.work_item.actor.trust', substr(e.body ->> '$.work_item.text', 1, 280), w.delivery_id, ",
            "r.turns, r.cost, r.tokens, r.outcome, r.runner, r.epoch, r.next_seq, r.due_at, r.created_at, r.updated_at, r.waits ",
            "FROM runs r ",
            $index,
            " JOIN agents a ON a.id = r.agent_id ",
            "JOIN agent_versions v ON v.agent_id = r.agent_id AND v.version = r.agent_version ",
            "JOIN integrations i ON i.id = r.integration_id JOIN conversations c ON c.id = r.conversation_id ",
            "JOIN work_items w ON w.id = r.work_item_id JOIN events e ON e.run_id = r.id AND e.seq = 0 ",
            "WHERE r.workspace_id = ?1 ",
            $tail
        )
    };
}

macro_rules! select_page {
    ($index:literal, $phase:literal) => {
        select_runs!(
            $index,
            concat!(
                "AND (?2 IS NULL OR r.id < ?2) AND (?3 IS NULL OR r.phase = ?3) AND (?4 IS NULL OR r.agent_id = ?4) ",
                $phase,
                " ORDER BY r.id DESC LIMIT ?5"
            )
        )
    };
}

/// The page's query. What has not ended, or not well, is found in an index that holds nothing else; the others come along soon
/// enough in the order of the ids.
fn select_page(phase: Option<Phase>) -> &'static str {
    match phase {
        // Thousands may be queued: the newest are found in the index alone, before anything is read of them.
        Some(Phase::Queued | Phase::Running | Phase::Parked | Phase::Waiting) => select_runs!(
            "AND r.id IN (SELECT q.id FROM runs q INDEXED BY runs_due WHERE q.workspace_id = ?1 AND q.agent_id IN \
             (SELECT id FROM agents WHERE workspace_id = ?1) AND q.phase = ?3 AND q.due_at IS NOT NULL \
             AND (?4 IS NULL OR q.agent_id = ?4) AND (?2 IS NULL OR q.id < ?2) ORDER BY q.id DESC LIMIT ?5) \
             ORDER BY r.id DESC"
        ),
        Some(Phase::Failed | Phase::Cancelled) => select_page!(
            "INDEXED BY runs_ended_badly",
            "AND r.phase = ?3 AND r.phase IN ('failed', 'cancelled')"
        ),
        Some(Phase::Completed) | None => select_page!("", ""),
    }
}

/// `GET /api/v1/runs`.
pub(super) async fn list(
    person: Person,
    Params(query): Params<Query>,
) -> Result<Json<Page<RunView, RunId>>, ApiError> {
    Ok(Json(page(&person, &query).await?))
}

/// `GET /api/v1/runs/{id}`.
pub(super) async fn show(person: Person, Id(run): Id<RunId>) -> Result<Json<RunDetail>, ApiError> {
    Ok(Json(detail(&person, run).await?))
}

/// A page of runs, newest first.
pub(crate) async fn page(person: &Person, query: &Query) -> Result<Page<RunView, RunId>, ApiError> {
    let unknown = || {
        let phases = Phase::ALL.map(Phase::as_str).join(", ");
        ApiError::invalid(format!("a phase is one of {phases}"))
    };
    let phase = match &query.phase {
        Some(name) => Some(Phase::from_name(name).ok_or_else(unknown)?),
        None => None,
    };
    let position = Position {
        cursor: query.cursor,
        limit: query.limit,
    };
    let arguments = [
        position.cursor.into(),
        phase.map(Phase::as_str).map(str::to_owned).into(),
        query.agent.into(),
        position.rows_to_read().into(),
    ];
    let rows = person.scope.query(select_page(phase), arguments).await?;
    let runs = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(position.page(runs, |run: &RunView| run.id))
}

/// One run.
pub(crate) async fn detail(person: &Person, run: RunId) -> Result<RunDetail, ApiError> {
    #[derive(Deserialize)]
    struct Opened {
        work_item: WorkItem,
    }
    let scope = &person.scope;
    let results = scope
        .read(vec![
            scope.sql(select_runs!("AND r.id = ?2"), [run.into()]),
            scope.sql(
                "SELECT body FROM events WHERE workspace_id = ?1 AND run_id = ?2 AND seq = 0",
                [run.into()],
            ),
            scope.sql(
                "SELECT kind, body ->> '$.by' FROM signals WHERE workspace_id = ?1 AND run_id = ?2 \
                 AND kind IN ('cancel', 'pause') ORDER BY id",
                [run.into()],
            ),
            effects::of_run(scope, run),
            scope.sql(
                "SELECT e.body -> '$.question' FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.next_seq - 1 \
                 WHERE r.workspace_id = ?1 AND r.id = ?2 AND r.waits = 'asked'",
                [run.into()],
            ),
        ])
        .await?;
    let [runs, opened, signals, effects, questions] = results.as_slice() else {
        return Err(DbError::Sql("the database answered with too few results".into()).into());
    };
    let (Some(row), Some(opened)) = (runs.first(), opened.first()) else {
        return Err(ApiError::not_found("run"));
    };
    let opened: Opened = opened.json(0)?;
    let asked_by = |kind| -> Result<_, ValueError> {
        let signal = signals.iter().find(|row| row.text(0) == Ok(kind));
        signal.map(|row| row.text(1).map(str::to_owned)).transpose()
    };
    Ok(RunDetail {
        run: view(row)?,
        work_item: opened.work_item,
        cancel_asked_by: asked_by("cancel")?,
        pause_asked_by: asked_by("pause")?,
        question: questions.first().map(|row| row.json(0)).transpose()?,
        effects: effects.iter().map(effects::view).collect::<Result<_, _>>()?,
    })
}

fn view(row: &Row) -> Result<RunView, ValueError> {
    let text = |column| row.text(column).map(str::to_owned);
    let optional = |column| Ok(row.optional_text(column)?.map(str::to_owned));
    let phase = Phase::from_name(row.text(1)?).ok_or(ValueError {
        column: 1,
        expected: "a phase",
    })?;
    Ok(RunView {
        id: row.parse(0)?,
        phase: phase.as_str(),
        waits: optional(28)?,
        agent: AgentRef {
            id: row.parse(2)?,
            version: row.integer(3)?,
            handle: text(4)?,
            name: text(5)?,
        },
        integration: IntegrationRef {
            id: row.parse(6)?,
            name: text(7)?,
            channel: text(8)?,
        },
        conversation: ConversationRef {
            id: row.parse(9)?,
            key: text(10)?,
            title: text(11)?,
            url: optional(12)?,
        },
        asked: Asked {
            kind: text(13)?,
            by: text(14)?,
            trust: row.json(15)?,
            excerpt: text(16)?,
            delivery: row.parse(17)?,
        },
        turns: row.unsigned(18)?,
        cost: MicroUsd(row.integer(19)?),
        tokens: row.unsigned(20)?,
        outcome: optional(21)?,
        runner: optional(22)?,
        epoch: row.unsigned(23)?,
        next_seq: row.unsigned(24)?,
        due_at: row.optional_integer(25)?.map(UnixMillis),
        created_at: UnixMillis(row.integer(26)?),
        updated_at: UnixMillis(row.integer(27)?),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        db::{Scope, migrate::migrate},
        edge::DEFAULT_WORKSPACE,
        host::native::{DatabaseAddress, ports},
    };

    /// How the database goes about a page: one line per step.
    async fn plan(scope: &Scope, phase: Option<Phase>) -> Vec<String> {
        let sql: &'static str = format!("EXPLAIN QUERY PLAN {}", select_page(phase)).leak();
        let arguments = [
            None::<String>.into(),
            phase.map(|phase| phase.as_str().to_owned()).into(),
            None::<String>.into(),
        ];
        let arguments = arguments.into_iter().chain([51_u32.into()]);
        let rows = scope.query(sql, arguments).await.unwrap();
        rows.iter().map(|row| row.text(3).unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn no_page_of_runs_reads_more_runs_than_it_must() {
        let directory = tempfile::tempdir().unwrap();
        let ports = ports(&DatabaseAddress::File(directory.path().join("roost.db"))).unwrap();
        migrate(&ports.database, ports.clock.now()).await.unwrap();
        let scope = Scope::new(ports.database.clone(), DEFAULT_WORKSPACE.into());
        for phase in [None].into_iter().chain(Phase::ALL.map(Some)) {
            let steps = plan(&scope, phase).await;
            let runs = match phase {
                Some(Phase::Queued | Phase::Running | Phase::Parked | Phase::Waiting) => {
                    "SEARCH r USING PRIMARY KEY (id=?)"
                }
                Some(Phase::Failed | Phase::Cancelled) => {
                    "SEARCH r USING INDEX runs_ended_badly (workspace_id=? AND phase=?)"
                }
                // In the order of the ids, until the page is full.
                Some(Phase::Completed) | None => "SCAN r",
            };
            assert_eq!(steps[0], runs, "{phase:?}: {steps:?}");
            // What is under way is little enough to be sorted; nothing else is.
            let sorted = steps.iter().any(|step| step.contains("ORDER BY"));
            let few = matches!(
                phase,
                Some(Phase::Queued | Phase::Running | Phase::Parked | Phase::Waiting)
            );
            assert_eq!(sorted, few, "{phase:?}: {steps:?}");
            assert!(
                steps[1..].iter().all(|step| !step.starts_with("SCAN")),
                "{steps:?}"
            );
        }
    }
}
