//! The threat model of `docs/threat-model.md`, line by line: every attempt is made for real from inside a sprite.
//!
//! The host runs as whoever runs the tests; started as root, a second host runs as an ordinary user too, so both ways of
//! keeping sprites in are tried. What a machine can't run is reported as not run, never as passed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod amounts;
mod attempts;
mod groups;
mod host;
mod model;

use std::{io::Write, os::unix::fs::MetadataExt};

use attempts::ATTEMPTS;
use host::{Host, User, sh};

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
    drop(host.stop().await);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_sprite_of_an_ordinary_user_is_given_one_of_its_own_by_root_and_nothing_outside_changes_hands() {
    if !rustix::process::geteuid().is_root() {
        report("NOT RUN: a sprite given a user of its own: only root can give users");
        return;
    }
    let Some(host) = Host::start(User::Ordinary).await else {
        report("NOT RUN: a sprite given a user of its own: this machine gives no walls to an ordinary user");
        return;
    };
    let make = "echo kept > file; mkdir -p d/e; ln file d/e/again; ln -s /etc/passwd link; chmod 700 d";
    assert_eq!(sh(&host.attacker, make).await.0, 0);
    host.attacker.checkpoint(None).await.unwrap();
    let data = host.stop().await;
    // As if a command without walls had made it: a second name of a file outside.
    let outside = data.path().join("outside");
    std::fs::write(&outside, "of the user").unwrap();
    std::os::unix::fs::chown(&outside, Some(65_534), Some(65_534)).unwrap();
    let home = data
        .path()
        .join("host/sprite-host/sprites/attacker/root/home/sprite");
    std::fs::hard_link(&outside, home.join("stolen")).unwrap();

    let host = Host::start_in(data, User::Own).await.unwrap();
    let own = std::fs::metadata(&home).unwrap().uid();
    assert!(own > 65_534, "{own}");
    for restored in [false, true] {
        if restored {
            host.attacker.restore("v1").await.unwrap();
            std::fs::hard_link(&outside, home.join("stolen")).unwrap();
        }
        let (exit, said) = sh(
            &host.attacker,
            "cat file d/e/again && echo more >> d/e/again && touch d/new",
        )
        .await;
        assert_eq!((exit, said.as_str()), (0, "kept\nkept\n"), "restored: {restored}");
        for ours in ["file", "d", "d/e", "link"] {
            assert_eq!(
                std::fs::symlink_metadata(home.join(ours)).unwrap().uid(),
                own,
                "{ours}"
            );
        }
        assert_eq!(
            std::fs::metadata(&outside).unwrap().uid(),
            65_534,
            "restored: {restored}"
        );
        assert_eq!(std::fs::metadata("/etc/passwd").unwrap().uid(), 0);
        assert_ne!(
            sh(&host.attacker, "echo x >> stolen").await.0,
            0,
            "restored: {restored}"
        );
    }
    host.stop().await;
}

#[test]
fn the_page_has_a_line_for_every_attempt_and_no_other() {
    let mut page = model::lines();
    let mut tried: Vec<String> = ATTEMPTS.iter().map(|attempt| attempt.name.to_owned()).collect();
    page.sort();
    tried.sort();
    assert_eq!(page, tried);
}
