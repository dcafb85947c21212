//! The official JavaScript SDK of the Sprites API works against `roost sprites`: `docs/reference/sprites-api.md` has a line
//! for each of its public methods, and every line is true.
//!
//! After a change of what works, `ROOST_WRITE_TABLES=1 cargo test -p roost-tests --test sprites_sdk` writes the table anew.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use roost_tests::{RoostProcess, toolbox};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/sprites/main.mjs");
const TOKEN: &str = "a token for the SDK";
const BEGIN: &str = "<!-- methods: begin -->\n";
const END: &str = "<!-- methods: end -->";

/// What became of one method of the SDK.
#[derive(Debug, Deserialize)]
struct Row {
    area: String,
    method: String,
    outcome: String,
    detail: Option<String>,
}

#[tokio::test]
async fn every_method_of_the_official_sdk_does_what_the_table_says() {
    let (folders, _hosts, urls) = hosts().await;
    let rows = drive(&urls).await;
    drop(folders);

    let wrong: Vec<_> = rows
        .iter()
        .filter(|row| match row.outcome.as_str() {
            "passed" => false,
            "not run" => row.detail.as_deref().unwrap_or_default().is_empty(),
            _ => true,
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let page = page();
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has a table of methods");
    let (written, after) = rest.split_once(END).expect("the table of methods ends");
    let table = table(&rows);
    if std::env::var_os("ROOST_WRITE_TABLES").is_some() {
        fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    let lines = |table: &str| table.lines().map(str::to_owned).collect::<Vec<_>>();
    let (written, true_now) = (lines(written), lines(&table));
    let untrue: Vec<_> = written.iter().filter(|line| !true_now.contains(line)).collect();
    let absent: Vec<_> = true_now.iter().filter(|line| !written.contains(line)).collect();
    assert_eq!(
        written,
        true_now,
        "{} is not true (see the head of this test)\nwritten, but not so: {untrue:#?}\nso, but not written: {absent:#?}",
        page.display()
    );
}

/// Two hosts: one as it comes, one whose limits are reached with two sprites.
async fn hosts() -> ([TempDir; 2], Vec<RoostProcess>, Vec<String>) {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let limits = "[sprites]\nmax_sprites = 2\nmax_running = 1\ncreations_per_minute = 3\n";
    fs::write(folders[1].path().join("roost.toml"), limits).unwrap();
    let (mut hosts, mut urls) = (Vec::new(), Vec::new());
    for folder in &folders {
        let path = folder.path().display().to_string();
        let arguments = ["sprites", "--listen", "127.0.0.1:0", "--data", &path];
        let mut host = RoostProcess::start(&arguments, &[("ROOST_SPRITES_TOKEN", TOKEN)]);
        urls.push(host.address().await);
        hosts.push(host);
    }
    (folders, hosts, urls)
}

/// Runs the SDK against these hosts.
async fn drive(urls: &[String]) -> Vec<Row> {
    let toolbox = toolbox();
    let driver = Command::new(toolbox.node().unwrap())
        .arg(DRIVER)
        .arg(toolbox.node_modules().unwrap())
        .args([&urls[0], TOKEN, &urls[1]])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(300), driver)
        .await
        .expect("the SDK ends in time")
        .expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn table(rows: &[Row]) -> String {
    let by_name: BTreeMap<_, _> = rows.iter().map(|row| ((&row.area, &row.method), row)).collect();
    let mut table = String::from("| Area | Method | Outcome |\n|---|---|---|\n");
    for row in by_name.values() {
        let detail = row.detail.as_deref().unwrap_or_default();
        let outcome = match row.outcome.as_str() {
            "passed" => "passed".to_owned(),
            _ => format!("not run: {detail}"),
        };
        writeln!(table, "| {} | `{}` | {outcome} |", row.area, row.method).unwrap();
    }
    table
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("docs/reference/sprites-api.md")
}
