//! The command line's manners: help with an example, errors in one sentence, exit codes.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

const COMMANDS: [&str; 16] = [
    "demo",
    "up",
    "edge",
    "runner",
    "sprites",
    "runs",
    "effects",
    "deliveries",
    "migrate",
    "backup",
    "restore",
    "token",
    "code",
    "send",
    "doctor",
    "config",
];

fn roost(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roost"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_command_is_listed_and_helps_with_an_example() {
    let all = text(&roost(&["--help"]).stdout);
    for command in COMMANDS {
        assert!(
            all.contains(&format!("\n  {command} ")),
            "{command} is missing in\n{all}"
        );
        let output = roost(&[command, "--help"]);
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(
            help.contains("Example") && help.contains(&format!("roost {command}")),
            "{help}"
        );
    }
    let listed = all
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .count();
    // Two options, the line `help`, and the example.
    assert_eq!(listed, COMMANDS.len() + 4, "{all}");
}

#[test]
fn what_is_missing_is_said_in_one_sentence() {
    for (arguments, code, sentence) in [
        (
            &["edge", "--database", "x.db"][..],
            2,
            "error: there is no master key: make one with `openssl rand -base64 32`",
        ),
        (
            &["migrate"],
            2,
            "error: no database is configured; say where it is with --database",
        ),
        (
            &["runner"],
            2,
            "error: a runner needs a token: make one where the edge's master key is",
        ),
        (
            &["runs"],
            2,
            "error: there is neither a token nor a master key to make one: name the data directory",
        ),
        (&["sprites"], 2, "error: a sprite host needs a token"),
        (
            &["token", "runner", "--name", "x", "--master-key", "short"],
            2,
            "error: the configured master key: the master key must be 32 bytes",
        ),
        (
            &[
                "send",
                "fax",
                "message",
                "--to",
                "http://127.0.0.1:9",
                "--secret",
                "x",
            ],
            2,
            "error: there is no fixture \"fax message\"",
        ),
        (
            &[
                "send",
                "generic",
                "message",
                "--to",
                "http://127.0.0.1:1/",
                "--secret",
                "x",
            ],
            1,
            "error: http://127.0.0.1:1/ can't be reached",
        ),
        (
            &["up", "--config", "/nonexistent/roost.toml"],
            2,
            "error: /nonexistent/roost.toml can't be read",
        ),
    ] {
        let output = roost(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with(sentence), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn with_json_errors_are_json_and_data_is_one_line() {
    let key = ["--master-key", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="];
    let error = roost(&["edge", "--json"]);
    let error: serde_json::Value = serde_json::from_slice(&error.stderr).unwrap();
    assert_eq!(error["error"]["code"], "no_master_key");
    let misused = roost(&["send", "--json"]);
    assert_eq!(misused.status.code(), Some(2));
    let misused: serde_json::Value = serde_json::from_slice(&misused.stderr).unwrap();
    assert_eq!(misused["error"]["code"], "usage");
    assert!(
        misused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--secret <SECRET>"),
        "{misused}"
    );

    let token = roost(&["token", "api", "--name", "x", "--json", key[0], key[1]]);
    let token: serde_json::Value = serde_json::from_slice(&token.stdout).unwrap();
    let plain = roost(&["token", "api", "--name", "x", key[0], key[1]]);
    let (token, plain) = (token["token"].as_str().unwrap().to_owned(), text(&plain.stdout));
    assert_eq!(plain.trim().split('.').count(), 3);
    assert_eq!(token.split('.').next(), plain.split('.').next());

    let code = roost(&["code", "--public-url", "https://roost.example/", key[0], key[1]]);
    assert!(text(&code.stdout).starts_with("https://roost.example/admin/login?code=ey"));
}
