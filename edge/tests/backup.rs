//! Backups: copied while deliveries come in, restored whole, and refused where they would do harm.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use common::TestEdge;
use http::StatusCode;
use roost_edge::db::{
    Database, Mode, Statement,
    backup::{BackupError, Replaced, back_up, restore},
    checkup::{Depth, check},
    embedded::EmbeddedDatabase,
    restored::{Doubts, Since},
};
use roost_shared::UnixMillis;

/// How long a closed database may take to be let go of.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_while_deliveries_come_in_and_restored_when_none_do() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let (database, copy) = (
        t.directory.path().join("roost.db"),
        elsewhere.path().join("copy.db"),
    );
    t.completed("before").await;

    let (from, to) = (database.clone(), copy.clone());
    let backup = tokio::task::spawn_blocking(move || back_up(&from, &to));
    let mut acked = 1;
    while !backup.is_finished() {
        let (status, _) = t.say(&format!("m{acked}"), "elsewhere", "more").await;
        assert_eq!(status, StatusCode::OK);
        acked += 1;
    }
    let made = backup.await.unwrap().unwrap();
    assert!(
        (1..=acked).contains(&made.deliveries),
        "{made:?} of {acked}: what was acked before it began is in it"
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "one file");

    let aside = elsewhere.path().join("aside.db");
    let now = t.edge.now();
    let again = || restore(&copy, (&database, &aside), Since::Nothing, now);
    let in_use = again();
    assert!(matches!(in_use, Err(BackupError::InUse(_))), "{in_use:?}");
    let twice = back_up(&database, &copy);
    assert!(matches!(twice, Err(BackupError::Exists(_))), "{twice:?}");

    let directory = close(t);
    let begun = Instant::now();
    let restored = loop {
        // The threads of the closed database may need a moment to let go of it.
        match again() {
            Err(BackupError::InUse(_)) if begun.elapsed() < PATIENCE => tokio::task::yield_now().await,
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!(
        (&restored.checkup, restored.replaced, restored.doubts),
        (&made, Replaced::Kept, Doubts::default())
    );
    assert_eq!(check(&database, Depth::Whole).unwrap(), made);
    let kept = check(&aside, Depth::Whole).unwrap();
    assert_eq!((kept.deliveries, kept.faults), (acked, Vec::new()));
    drop(directory);
}

/// Closes the edge's database and keeps its directory.
fn close(t: TestEdge) -> tempfile::TempDir {
    let TestEdge { edge, directory, .. } = t;
    drop(edge);
    directory
}

#[tokio::test]
async fn what_is_damaged_or_foreign_is_neither_backed_up_nor_restored() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let run = t.completed("one").await;
    let directory = t.directory.path();
    let (database, copy) = (directory.join("roost.db"), directory.join("copy.db"));
    let torn = "DELETE FROM events WHERE run_id = ?1 AND seq = 2";
    let torn = Statement::new(torn, vec![run.as_str().into()]);
    t.edge
        .ports
        .database
        .batch(Mode::Write, vec![torn])
        .await
        .unwrap();
    let found = check(&database, Depth::Quick).unwrap();
    assert_eq!(found.faults, [format!("the journal of run {run} has a gap")]);
    let damaged = back_up(&database, &copy);
    assert!(matches!(damaged, Err(BackupError::Damaged { .. })), "{damaged:?}");

    let text = directory.join("text.db");
    fs::write(&text, "x".repeat(9000)).unwrap();
    assert!(!check(&text, Depth::Quick).unwrap().faults.is_empty());
    let target = directory.join("target.db");
    let (aside, now) = (directory.join("aside.db"), t.edge.now());
    let refuse = |backup: &Path| restore(backup, (&target, &aside), Since::Unknown, now).unwrap_err();
    assert!(matches!(refuse(&text), BackupError::Damaged { .. }));
    assert!(matches!(
        refuse(&directory.join("gone.db")),
        BackupError::Missing(_)
    ));
    let nothing = back_up(&directory.join("gone.db"), &directory.join("nowhere/copy.db"));
    assert!(matches!(nothing, Err(BackupError::Missing(_))), "{nothing:?}");
    let other = directory.join("other.db");
    let foreign = EmbeddedDatabase::open(&other).unwrap();
    let table = Statement::new("CREATE TABLE things (id INTEGER)", vec![]);
    foreign.batch(Mode::Write, vec![table]).await.unwrap();
    assert!(matches!(refuse(&other), BackupError::Foreign(_)));
    assert!(!target.exists() && !copy.exists());
}

/// A database of the first version, with a run under way and a reply that waits.
async fn first_version(file: &Path) {
    let old = EmbeddedDatabase::open(file).unwrap();
    let code: Vec<&str> = include_str!("../../migrations/0001_init.sql")
        .lines()
        .map(|line| line.split("-- ").next().unwrap())
        .collect();
    let code = code.join("\n");
    let rows = [
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
        "INSERT INTO migrations VALUES (1, '0001_init', 0)",
        "INSERT INTO runs (id, workspace_id, work_item_id, agent_id, agent_version, conversation_id, integration_id, phase, \
         next_seq, epoch, created_at, updated_at) VALUES ('r', 'main', 'w', 'a', 1, 'c', 'i', 'running', 2, 1, 0, 0)",
        r#"INSERT INTO events VALUES ('r', 0, 'main', 0, 0, '{"type":"opened","work_item":{"actor":{"trust":"member"}}}'),
           ('r', 1, 'main', 1, 0, '{"type":"leased","runner":"x"}')"#,
        "INSERT INTO effects (id, workspace_id, integration_id, stream, idempotency_key, effect, state, due_at, created_at, \
         updated_at) VALUES ('e', 'main', 'i', 's', 'k', '{\"type\":\"reply\"}', 'pending', 5, 5, 5)",
    ];
    let statements = code
        .split(';')
        .filter(|piece| !piece.trim().is_empty())
        .chain(rows);
    let batch = statements
        .map(|sql| Statement::new(sql.to_owned(), vec![]))
        .collect();
    old.batch(Mode::Write, batch).await.unwrap();
}

#[tokio::test]
async fn a_backup_of_an_older_version_is_brought_up_to_date_and_doubted() {
    let directory = tempfile::tempdir().unwrap();
    let (backup, database) = (directory.path().join("old.db"), directory.path().join("new.db"));
    first_version(&backup).await;
    let aside = directory.path().join("aside.db");
    let at = UnixMillis(1_767_225_600_000);
    let restored = restore(&backup, (&database, &aside), Since::Unknown, at).unwrap();
    let doubts = Doubts {
        replies_in_doubt: 1,
        runs_paused: 1,
    };
    assert_eq!((restored.doubts, restored.replaced), (doubts, Replaced::Nothing));
    let found = check(&database, Depth::Whole).unwrap();
    assert_eq!((found.events, &found.faults), (3, &Vec::new()));
    let now = EmbeddedDatabase::open(&database).unwrap();
    let read = |sql: &'static str| now.batch(Mode::Read, vec![Statement::new(sql, vec![])]);
    let run = read("SELECT phase || waits, epoch, next_seq FROM runs")
        .await
        .unwrap()
        .remove(0)
        .remove(0);
    assert_eq!(
        run.0,
        ["waitingpaused".into(), 1_767_225_600_i64.into(), 3_i64.into()]
    );
    let effect = read("SELECT state, tried_at, due_at FROM effects")
        .await
        .unwrap()
        .remove(0)
        .remove(0);
    assert_eq!(
        effect.0,
        ["unknown".into(), 5_i64.into(), at.into()],
        "it may have been sent since it was queued"
    );
}
