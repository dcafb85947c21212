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
};

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
    let in_use = restore(&copy, &database, &aside);
    assert!(matches!(in_use, Err(BackupError::InUse(_))), "{in_use:?}");
    let again = back_up(&database, &copy);
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");

    let directory = close(t);
    let begun = Instant::now();
    let (restored, replaced) = loop {
        // The threads of the closed database may need a moment to let go of it.
        match restore(&copy, &database, &aside) {
            Err(BackupError::InUse(_)) if begun.elapsed() < PATIENCE => tokio::task::yield_now().await,
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!((&restored, replaced), (&made, Replaced::Kept));
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
    let refuse = |backup: &Path| restore(backup, &target, &directory.join("aside.db")).unwrap_err();
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
