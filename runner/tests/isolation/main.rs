//! The threat model of `docs/threat-model.md`, line by line: every attempt is made for real from inside a sprite.
//!
//! The host runs as whoever runs the tests; started as root, a second host runs as an ordinary user too, so both ways of
//! keeping sprites in are tried. What a machine can't run is reported as not run, never as passed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attempts;
mod groups;
mod host;
mod model;

use std::io::Write;

use attempts::ATTEMPTS;
use host::{Host, User};

/// Tells the person who runs the tests, past the harness's capture.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

async fn all_as(user: User) {
    let Some(host) = Host::start(user).await else {
        report(&format!(
            "NOT RUN: threat model as {user:?}: this machine gives no walls to that user"
        ));
        return;
    };
    let mut failures = Vec::new();
    for attempt in ATTEMPTS {
        match (attempt.run)(&host).await {
            Ok(()) => report(&format!("held     as {user:?}: {}", attempt.name)),
            Err(why) => failures.push(format!("{}: {why}", attempt.name)),
        }
    }
    if let Err(why) = groups::are_kept(&host).await {
        failures.push(format!("cgroups: {why}"));
    }
    let group = groups::of(&host);
    host.stop().await;
    if let Some(left) = group.filter(|group| group.exists()) {
        failures.push(format!("cgroups: {} is left", left.display()));
    }
    assert!(failures.is_empty(), "as {user:?}:\n{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sprites_of_the_user_who_runs_this_are_kept_in() {
    all_as(User::Own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sprites_of_an_ordinary_user_are_kept_in() {
    if !rustix::process::geteuid().is_root() {
        report("the tests run as an ordinary user already: see the other test");
        return;
    }
    all_as(User::Ordinary).await;
}

#[test]
fn the_page_has_a_line_for_every_attempt_and_no_other() {
    let mut page = model::lines();
    let mut tried: Vec<String> = ATTEMPTS.iter().map(|attempt| attempt.name.to_owned()).collect();
    page.sort();
    tried.sort();
    assert_eq!(page, tried);
}
