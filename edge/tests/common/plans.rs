//! How SQLite goes about each statement the edge gives it.
//!
//! Invariant: no statement of a request walks a table that grows with use: neither all of it, nor all of a workspace's part of
//! it. What a page shows in the order of the keys may be walked, for it ends with the page. A statement of a test's own that
//! means all rows begins with [`ALL`].

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use roost_edge::db::{Database, Mode, Outcome, Statement};

/// What a statement begins with that is meant to touch all rows there are.
pub const ALL: &str = "/* all */ ";

/// Tables with a row, or more, for every message.
const GROWING: [&str; 9] = [
    "conversations",
    "deliveries",
    "effects",
    "events",
    "joined",
    "runs",
    "signals",
    "spent_tokens",
    "work_items",
];

/// Indexes that hold only what waits for a person.
const FEW: [&str; 1] = ["runs_waiting"];

/// A database that refuses a statement with a plan that gets slower the longer Roost is used.
pub struct Planned {
    inner: Arc<dyn Database>,
    seen: Mutex<HashSet<String>>,
}

impl Planned {
    pub fn new(inner: Arc<dyn Database>) -> Self {
        Self {
            inner,
            seen: Mutex::default(),
        }
    }

    fn is_new(&self, statement: &Statement) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        !statement.sql.starts_with(ALL) && seen.insert(statement.sql.to_string())
    }
}

impl Database for Planned {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            for statement in &statements {
                if self.is_new(statement) {
                    let explain = format!("EXPLAIN QUERY PLAN {}", statement.sql);
                    let explain = vec![Statement::new(explain, statement.args.clone())];
                    let plan = self.inner.batch(Mode::Read, explain).await?;
                    let steps = plan[0].iter().map(|row| row.text(3).unwrap().to_owned());
                    let steps: Vec<String> = steps.collect();
                    if let Some(step) = steps.iter().find(|step| walks(&statement.sql, step, &steps)) {
                        panic!(
                            "{step}\nis a step of a statement that gets slower with use:\n{}",
                            statement.sql
                        );
                    }
                }
            }
            self.inner.batch(mode, statements).await
        })
    }
}

/// Whether a step of the plan walks a table that grows.
fn walks(sql: &str, step: &str, plan: &[String]) -> bool {
    let mut words = step.split(' ');
    let (Some(how), Some(name)) = (words.next(), words.next()) else {
        return false;
    };
    let grows = GROWING.contains(&table(sql, name));
    let of_a_page = sql.contains("LIMIT") && !plan.iter().any(|step| step.contains("FOR ORDER BY"));
    match how {
        "SCAN" => grows && !step.contains("VIRTUAL TABLE") && !of_a_page,
        "SEARCH" => {
            let few = FEW.iter().any(|index| step.contains(index));
            grows && !few && step.ends_with("(workspace_id=?)")
        }
        _ => false,
    }
}

/// The table that a plan calls by this name.
fn table<'a>(sql: &'a str, name: &'a str) -> &'a str {
    let words: Vec<&str> = sql
        .split([' ', '\n', '(', ')', ','])
        .filter(|word| !word.is_empty() && *word != "AS")
        .collect();
    let alias = words
        .windows(2)
        .find(|pair| pair[1] == name && GROWING.contains(&pair[0]));
    alias.map_or(name, |pair| pair[0])
}
