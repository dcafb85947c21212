//! Write batches that share a transaction at a real libSQL server share nothing else.

use std::sync::Arc;

use futures::future::join_all;
use roost_edge::{
    db::{Database, DbError, Mode, Statement, Value},
    host::native::{DatabaseAddress, ports},
};
use roost_tests::Sqld;

async fn fresh(sqld: &Sqld) -> Result<Arc<dyn Database>, Box<dyn std::error::Error>> {
    let address = DatabaseAddress::Server {
        url: sqld.url(),
        token: None,
    };
    let database = ports(&address)?.database;
    let table = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT";
    write(&database, vec![Statement::new(table, vec![])]).await?;
    Ok(database)
}

async fn write(
    database: &Arc<dyn Database>,
    batch: Vec<Statement>,
) -> Result<Vec<Vec<roost_edge::db::Row>>, DbError> {
    database.batch(Mode::Write, batch).await
}

fn insert(id: i64, text: Value) -> Statement {
    Statement::new(
        "INSERT INTO notes (id, text) VALUES (?1, ?2) RETURNING id",
        vec![id.into(), text],
    )
}

/// Of 300 at once a third is refused by a guard after a write of its own, a third breaks a constraint in its second
/// statement; the others are whole, and so is what they answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_one_transaction_fail_alone() {
    let sqld = Sqld::start().await;
    let database = fresh(&sqld).await.expect("a table");
    let batches = (0..300_i64).map(|number| {
        let database = database.clone();
        async move {
            let first = insert(2 * number, "one".into());
            let second = match number % 3 {
                0 => insert(2 * number + 1, "two".into()),
                1 => Statement::guard("never", "SELECT 1 WHERE ?1 < 0", vec![number.into()]),
                _ => insert(2 * number + 1, Value::Null),
            };
            (number, write(&database, vec![first, second]).await)
        }
    });
    for (number, outcome) in join_all(batches).await {
        match number % 3 {
            0 => {
                let rows = outcome.expect("whole");
                let ids: Vec<i64> = rows
                    .iter()
                    .map(|rows| rows[0].integer(0).expect("an id"))
                    .collect();
                assert_eq!(ids, [2 * number, 2 * number + 1]);
            }
            1 => assert_eq!(outcome.expect_err("refused"), DbError::Refused { code: "never" }),
            _ => assert!(matches!(outcome, Err(DbError::Sql(_))), "{outcome:?}"),
        }
    }
    let count = Statement::new("SELECT count(*), sum(id % 6 IN (0, 1)) FROM notes", vec![]);
    let rows = database.batch(Mode::Read, vec![count]).await.expect("rows");
    assert_eq!(rows[0][0].integer(0).expect("a number"), 200);
    assert_eq!(rows[0][0].integer(1).expect("a number"), 200);
}

/// A failure that undoes the whole transaction takes the batches with it that shared it, and says so; the next ones are
/// written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_undoes_the_transaction_is_answered_to_all_who_shared_it() {
    let sqld = Sqld::start().await;
    let database = fresh(&sqld).await.expect("a table");
    let batches = (0..60_i64).map(|number| {
        let database = database.clone();
        async move {
            let undoing = Statement::new(
                "INSERT OR ROLLBACK INTO notes (id, text) VALUES (1, NULL)",
                vec![],
            );
            let ending = if number == 30 {
                undoing
            } else {
                insert(3 * number + 1, "b".into())
            };
            (
                number,
                write(&database, vec![insert(3 * number, "a".into()), ending]).await,
            )
        }
    });
    let mut stored = 0;
    for (number, outcome) in join_all(batches).await {
        stored += i64::from(outcome.is_ok());
        assert!(number != 30 || outcome.is_err(), "{outcome:?}");
    }
    let count = Statement::new("SELECT count(*) FROM notes", vec![]);
    let rows = database.batch(Mode::Read, vec![count]).await.expect("rows");
    assert_eq!(rows[0][0].integer(0).expect("a number"), 2 * stored);
    write(&database, vec![insert(1_000, "later".into())])
        .await
        .expect("written");
}
