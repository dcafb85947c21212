//! The embedded database under many writers at once: every batch happens whole or not at all, whoever shares its commit; and its
//! log does not grow for ever.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::File,
    io::Read,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use roost_edge::db::{Database, DbError, Mode, Statement, Value, embedded::EmbeddedDatabase};
#[cfg(target_os = "linux")]
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

const WRITERS: i64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_half_way_leaves_no_trace_and_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(EmbeddedDatabase::open(&directory.path().join("roost.db")).unwrap());
    let create = "CREATE TABLE things (id INTEGER PRIMARY KEY, part INTEGER NOT NULL CHECK (part < 9))";
    write(&database, vec![Statement::new(create, vec![])])
        .await
        .unwrap();

    let written = join_all((0..WRITERS).map(|id| {
        let database = database.clone();
        tokio::spawn(async move { (id, write(&database, batch(id)).await) })
    }))
    .await;
    for outcome in written {
        let (id, result) = outcome.unwrap();
        match id % 10 {
            3 => assert_eq!(result, Err(DbError::Refused { code: "no" })),
            5 => assert_eq!(result, Err(DbError::Refused { code: "late" })),
            7 => assert!(matches!(result, Err(DbError::Sql(_))), "{result:?}"),
            _ => assert!(result.is_ok(), "{result:?}"),
        }
    }
    let whole = "SELECT count(*), count(DISTINCT id / 2) FROM things";
    let rows = database
        .batch(Mode::Read, vec![Statement::new(whole, vec![])])
        .await
        .unwrap();
    let kept = WRITERS / 10 * 7;
    assert_eq!(rows[0][0].0, [Value::Integer(2 * kept), Value::Integer(kept)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_begun_anew_under_writers_and_readers() {
    begin_anew_twice().await;
}

/// As sandboxes do that know few calls. The filter holds for this thread and those that it starts.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_begun_anew_where_the_system_refuses_to_write_back() {
    let refused = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let rules = [(libc::SYS_sync_file_range, Vec::new())].into();
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
    begin_anew_twice().await;
}

/// Readers look all the time, and writers never pause.
async fn begin_anew_twice() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(EmbeddedDatabase::open(&directory.path().join("roost.db")).unwrap());
    let create = "CREATE TABLE things (id INTEGER PRIMARY KEY, whole BLOB)";
    write(&database, vec![Statement::new(create, vec![])])
        .await
        .unwrap();
    let reading = tokio::spawn({
        let database = database.clone();
        async move {
            loop {
                let look = Statement::new("SELECT sum(length(whole)) FROM things", vec![]);
                database.batch(Mode::Read, vec![look]).await.unwrap();
            }
        }
    });
    let log = directory.path().join("roost.db-wal");
    let before = begun(&log);
    while begun(&log).wrapping_sub(before) < 2 {
        assert!(log.metadata().unwrap().len() < 512 << 20, "the log only grows");
        let replaced = (0..16_i64).map(|id| {
            let replace = "INSERT OR REPLACE INTO things VALUES (?1, randomblob(1 << 17))";
            write(&database, vec![Statement::new(replace, vec![id.into()])])
        });
        for outcome in join_all(replaced).await {
            outcome.unwrap();
        }
    }
    reading.abort();
}

/// The newest commits are kept from being copied while others come; when none come, they reach the file as well.
#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_log_is_copied_when_nobody_writes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roost.db");
    let database = EmbeddedDatabase::open(&file).unwrap();
    let create = "CREATE TABLE things (id INTEGER PRIMARY KEY, whole TEXT)";
    write(&database, vec![Statement::new(create, vec![])])
        .await
        .unwrap();
    for word in ["first", "second", "the-last-of-all"] {
        let insert = Statement::new("INSERT INTO things (whole) VALUES (?1)", vec![word.into()]);
        write(&database, vec![insert]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let began = Instant::now();
    while !is_in_file("the-last-of-all", &file) {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is in the log alone"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Looked for by another process: a handle that this one closes would take SQLite's locks with it.
fn is_in_file(text: &str, file: &Path) -> bool {
    let found = Command::new("grep").args(["-q", text]).arg(file).status();
    found.unwrap().success()
}

/// How often the log was begun, as the header of its [file](https://www.sqlite.org/fileformat2.html#walformat) says.
fn begun(log: &Path) -> u32 {
    let mut header = [0; 16];
    File::open(log).unwrap().read_exact(&mut header).unwrap();
    u32::from_be_bytes(header[12..].try_into().unwrap())
}

/// Two rows; but for some a guard that says no before them or between them, or a second row that breaks a rule.
fn batch(id: i64) -> Vec<Statement> {
    let insert = |id: i64, part: i64| {
        Statement::new(
            "INSERT INTO things (id, part) VALUES (?1, ?2)",
            vec![id.into(), part.into()],
        )
    };
    let no = |code| Statement::guard(code, "SELECT 1 WHERE 0", vec![]);
    let (first, second) = (insert(2 * id, 1), insert(2 * id + 1, 2));
    match id % 10 {
        3 => vec![no("no"), first, second],
        5 => vec![first, no("late"), second],
        7 => vec![first, insert(2 * id + 1, 9)],
        _ => vec![Statement::guard("yes", "SELECT 1", vec![]), first, second],
    }
}

async fn write(database: &EmbeddedDatabase, batch: Vec<Statement>) -> Result<(), DbError> {
    database.batch(Mode::Write, batch).await.map(drop)
}
