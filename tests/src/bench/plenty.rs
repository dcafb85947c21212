//! Databases with much in them: copies of one real run and one real workspace, made in SQL.
//!
//! Invariant: a copy differs from its pattern in its ids and keys alone, whatever columns the tables have.

use roost_edge::db::Statement;

use crate::office::Office;

/// Copies made by one statement.
const AT_ONCE: u32 = 5_000;

/// Tables of a run, and the columns that name it or one of its parts.
const OF_A_RUN: [(&str, &[&str]); 6] = [
    ("deliveries", &["id", "dedupe_key"]),
    ("conversations", &["id", "key"]),
    ("work_items", &["id", "delivery_id", "conversation_id"]),
    ("runs", &["id", "work_item_id", "conversation_id"]),
    ("events", &["run_id"]),
    ("effects", &["id", "run_id", "idempotency_key"]),
];

/// Tables of a workspace's set-up, and the columns that name it or one of its parts.
const OF_A_WORKSPACE: [(&str, &[&str]); 5] = [
    ("workspaces", &["id"]),
    ("integrations", &["id", "workspace_id"]),
    ("agents", &["id", "workspace_id"]),
    ("agent_versions", &["agent_id", "workspace_id"]),
    (
        "subscriptions",
        &["id", "workspace_id", "agent_id", "integration_id"],
    ),
];

/// Makes copies; counts on from what it has made.
#[derive(Debug, Default)]
pub(super) struct Plenty {
    runs: u32,
    workspaces: u32,
}

impl Plenty {
    /// Takes what is in the database as the pattern.
    pub(super) async fn remember(office: &Office) {
        for (table, _) in OF_A_RUN.iter().chain(&OF_A_WORKSPACE) {
            execute(
                office,
                format!("CREATE TABLE pattern_{table} AS SELECT * FROM {table}"),
            )
            .await;
        }
    }

    /// Copies the pattern's run until there are `count` copies.
    pub(super) async fn runs(&mut self, office: &Office, count: u32) {
        copy(office, &OF_A_RUN, self.runs..count).await;
        self.runs = count;
    }

    /// Copies the pattern's workspace until there are `count` copies.
    pub(super) async fn workspaces(&mut self, office: &Office, count: u32) {
        copy(office, &OF_A_WORKSPACE, self.workspaces..count).await;
        self.workspaces = count;
    }

    /// Lets the agents take as many turns as they like.
    pub(super) async fn without_limits(office: &Office) {
        for sql in [
            "UPDATE agent_versions SET spec = json_set(spec, '$.limits.max_turns', 1000000, '$.limits.max_cost', 1000000000000)",
            "UPDATE workspaces SET config_version = config_version + 1",
        ] {
            execute(office, sql.to_owned()).await;
        }
    }
}

/// Takes away the runs that nobody has begun, so that the next measurement finds none in its way.
pub(super) async fn forget_queued(office: &Office) {
    execute(office, "DELETE FROM runs WHERE phase = 'queued'".to_owned()).await;
}

/// Puts runs that have ended to sleep for a day, until `count` sleep.
pub(super) async fn put_to_sleep(office: &Office, count: u32) {
    let sql = format!(
        "UPDATE runs SET phase = 'parked', due_at = (SELECT max(updated_at) FROM runs) + 86400000 WHERE id IN (SELECT id \
         FROM runs WHERE phase = 'completed' ORDER BY id LIMIT {count} - (SELECT count(*) FROM runs WHERE phase = 'parked'))"
    );
    execute(office, sql).await;
}

async fn copy(office: &Office, tables: &[(&str, &[&str])], numbers: std::ops::Range<u32>) {
    for (table, names) in tables {
        let columns = columns(office, table).await;
        let of = |column: &String| match names.contains(&column.as_str()) {
            true => copied(column),
            false => format!("p.{column}"),
        };
        let values: Vec<String> = columns.iter().map(of).collect();
        for start in numbers.clone().step_by(usize::try_from(AT_ONCE).expect("small")) {
            let end = numbers.end.min(start + AT_ONCE);
            execute(
                office,
                format!(
                    "WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {end}) \
                     INSERT INTO {table} ({}) SELECT {} FROM n CROSS JOIN pattern_{table} p",
                    columns.join(", "),
                    values.join(", ")
                ),
            )
            .await;
        }
    }
}

/// The name in a column, changed by the copy's number: a ULID stays one, in the past; other names get a suffix.
fn copied(column: &str) -> String {
    format!(
        "CASE WHEN p.{column} IS NULL THEN NULL \
         WHEN length(p.{column}) = 26 THEN printf('00%s%08X', substr(p.{column}, 11, 16), i) \
         ELSE p.{column} || '-' || i END"
    )
}

async fn columns(office: &Office, table: &str) -> Vec<String> {
    let sql = format!("SELECT name FROM pragma_table_info('{table}')");
    let read = office.scope.read(vec![Statement::new(sql, Vec::new())]).await;
    let rows = read.expect("the table is there").pop().unwrap_or_default();
    rows.iter()
        .map(|row| row.text(0).expect("a name").to_owned())
        .collect()
}

async fn execute(office: &Office, sql: String) {
    let statement = Statement::new(sql, Vec::new());
    office
        .scope
        .write(vec![statement])
        .await
        .expect("the copies are made");
}
