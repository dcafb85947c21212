//! Batches as the steps of one Hrana batch, and its result as theirs.
//!
//! Invariant: several batches share one commit and nothing else. Each is a savepoint, begun only while the transaction
//! still stands, so that one that fails leaves no trace in the others; and none of them happened unless the commit did.

use std::ops::Range;

use libsql_hrana::proto::{
    Batch, BatchCond, BatchCondList, BatchResult, BatchStep, Error, Stmt, StmtResult, Value as HranaValue,
};

use super::super::{DbError, Mode, Outcome, Row, Rows, Statement, Value};

/// What a guard that does not hold makes SQLite complain of: see [`guarded`].
const REFUSAL: &str = "malformed JSON";

/// The steps of some batches, and where each batch's are.
pub(super) struct Transaction<'a> {
    batches: &'a [Vec<Statement>],
    steps: Vec<BatchStep>,
    places: Vec<Place>,
    commit: usize,
}

/// Where a batch's steps are.
struct Place {
    statements: Range<usize>,
    /// The step without whose success the batch did not happen.
    last: usize,
}

impl<'a> Transaction<'a> {
    /// `BEGIN`, each batch's statements on the condition that the one before went well, `COMMIT`, and `ROLLBACK` if that
    /// did not happen.
    pub(super) fn new(mode: Mode, batches: &'a [Vec<Statement>]) -> Self {
        let mut transaction = Self {
            batches,
            steps: Vec::new(),
            places: Vec::new(),
            commit: 0,
        };
        let begin = match mode {
            Mode::Read => "BEGIN",
            Mode::Write => "BEGIN IMMEDIATE",
        };
        transaction.push(begin, None);
        let may_commit = match batches {
            [alone] => {
                let last = transaction.push_statements(alone, 0);
                ok(last)
            }
            several => {
                several.iter().for_each(|batch| transaction.push_apart(batch));
                stands()
            }
        };
        transaction.commit = transaction.push("COMMIT", Some(may_commit));
        let not_committed = not(ok(transaction.commit));
        transaction.push("ROLLBACK", Some(not_committed));
        transaction
    }

    /// The steps, as Hrana has them; they are taken out, since they hold all that is to be written.
    pub(super) fn take_batch(&mut self) -> Batch {
        Batch {
            steps: std::mem::take(&mut self.steps),
            replication_index: None,
        }
    }

    fn push(&mut self, sql: &str, condition: Option<BatchCond>) -> usize {
        self.push_step(Stmt::new(sql, false), condition)
    }

    fn push_step(&mut self, stmt: Stmt, condition: Option<BatchCond>) -> usize {
        self.steps.push(BatchStep { condition, stmt });
        self.steps.len() - 1
    }

    /// The statements, the first after the step `before`; gives the last step.
    fn push_statements(&mut self, statements: &[Statement], before: usize) -> usize {
        let begin = self.steps.len();
        let mut last = before;
        for statement in statements {
            last = self.push_step(stmt(statement), Some(ok(last)));
        }
        self.places.push(Place {
            statements: begin..self.steps.len(),
            last,
        });
        last
    }

    /// The statements as a savepoint.
    fn push_apart(&mut self, statements: &[Statement]) {
        let savepoint = self.push("SAVEPOINT one", Some(stands()));
        let last = self.push_statements(statements, savepoint);
        let released = self.push("RELEASE one", Some(ok(last)));
        if let Some(place) = self.places.last_mut() {
            place.last = released;
        }
        // Where a failure has undone the whole transaction there is no savepoint any more; then these fail, and say so.
        let failed = and(vec![ok(savepoint), not(ok(released))]);
        let undone = self.push("ROLLBACK TO one", Some(failed));
        self.push("RELEASE one", Some(ok(undone)));
    }

    /// Each batch's outcome.
    pub(super) fn outcomes(&self, mut result: BatchResult) -> Vec<Outcome> {
        let begun = result.error(0);
        let committed = match result.error(self.commit) {
            Some(error) => Err(from_hrana(error)),
            None if result.is_ok(self.commit) => Ok(()),
            None => Err(DbError::Unavailable("the transaction was undone".into())),
        };
        let outcomes = self.places.iter().zip(self.batches).map(|(place, statements)| {
            if let Some(error) = &begun {
                return Err(from_hrana(error.clone()));
            }
            let failed = (place.statements.start..=place.last)
                .find_map(|step| Some((step - place.statements.start, result.error(step)?)));
            if let Some((index, error)) = failed {
                return Err(
                    match statements.get(index).and_then(|statement| statement.guard) {
                        Some(code) if error.message.contains(REFUSAL) => DbError::Refused { code },
                        _ => from_hrana(error),
                    },
                );
            }
            committed.clone()?;
            if !result.is_ok(place.last) {
                return Err(DbError::Unavailable("the transaction was undone".into()));
            }
            Ok(place.statements.clone().map(|step| result.rows(step)).collect())
        });
        outcomes.collect()
    }
}

/// What is asked of a batch's result.
trait Steps {
    fn error(&self, step: usize) -> Option<Error>;
    fn is_ok(&self, step: usize) -> bool;
    fn rows(&mut self, step: usize) -> Rows;
}

impl Steps for BatchResult {
    fn error(&self, step: usize) -> Option<Error> {
        self.step_errors.get(step)?.clone()
    }

    fn is_ok(&self, step: usize) -> bool {
        self.step_results.get(step).is_some_and(Option::is_some)
    }

    fn rows(&mut self, step: usize) -> Rows {
        let result: Option<StmtResult> = self.step_results.get_mut(step).and_then(Option::take);
        let rows = result.map(|result| result.rows).unwrap_or_default();
        rows.into_iter()
            .map(|row| Row(row.values.into_iter().map(from_value).collect()))
            .collect()
    }
}

fn ok(step: usize) -> BatchCond {
    BatchCond::Ok {
        step: u32::try_from(step).unwrap_or(u32::MAX),
    }
}

fn not(condition: BatchCond) -> BatchCond {
    BatchCond::Not {
        cond: Box::new(condition),
    }
}

fn and(conds: Vec<BatchCond>) -> BatchCond {
    BatchCond::And(BatchCondList { conds })
}

/// The transaction was begun and no failure has undone it: a savepoint outside of one would commit by itself.
fn stands() -> BatchCond {
    and(vec![ok(0), not(BatchCond::IsAutocommit {})])
}

fn stmt(statement: &Statement) -> Stmt {
    let sql = if statement.guard.is_some() {
        guarded(&statement.sql)
    } else {
        statement.sql.to_string()
    };
    let mut stmt = Stmt::new(sql, true);
    for arg in &statement.args {
        stmt.bind(to_hrana(arg));
    }
    stmt
}

/// The guard's `SELECT` as a statement that fails when it yields no row: a batch's conditions know only whether a
/// step failed, and SQL outside triggers has no `RAISE`, so the guard asks for JSON that is none.
fn guarded(sql: &str) -> String {
    format!("SELECT json(iif(EXISTS({sql}), '1', 'refused'))")
}

fn to_hrana(value: &Value) -> HranaValue {
    match value {
        Value::Null => HranaValue::Null,
        Value::Integer(value) => HranaValue::Integer { value: *value },
        Value::Real(value) => HranaValue::Float { value: *value },
        Value::Text(text) => HranaValue::Text {
            value: text.as_str().into(),
        },
        Value::Blob(bytes) => HranaValue::Blob { value: bytes.clone() },
    }
}

fn from_value(value: HranaValue) -> Value {
    match value {
        HranaValue::None | HranaValue::Null => Value::Null,
        HranaValue::Integer { value } => Value::Integer(value),
        HranaValue::Float { value } => Value::Real(value),
        HranaValue::Text { value } => Value::Text(value.to_string()),
        HranaValue::Blob { value } => Value::Blob(value),
    }
}

/// Whether nothing was begun because of other writers.
pub(super) fn is_busy(result: &BatchResult) -> bool {
    result
        .error(0)
        .is_some_and(|error| error.code.starts_with("SQLITE_BUSY"))
}

/// What a failure means to us.
pub(super) fn from_hrana(error: Error) -> DbError {
    const PASSING: [&str; 6] = [
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_FULL",
        "SQLITE_IOERR",
        "SQLITE_READONLY",
        "SQLITE_CANTOPEN",
    ];
    let passing = PASSING.iter().any(|code| error.code.starts_with(code))
        || error.code.starts_with("TRANSACTION_TIMEOUT")
        || error.code.starts_with("BLOCKED");
    if passing {
        DbError::Unavailable(error.message)
    } else {
        DbError::Sql(error.message)
    }
}
