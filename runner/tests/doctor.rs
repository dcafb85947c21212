//! `roost doctor`: every check, once well and once not, with what to do about it.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use roost_runner::{
    sprite::host::{self, HostConfig},
    standin::model::{ModelServer, Script},
};
use serde_json::Value;

/// A port nobody listens on.
const NOBODY: &str = "http://127.0.0.1:9";

fn roost(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().copied());
    command
}

/// The findings by check, `status: message`, and the exit code.
fn doctor(arguments: &[&str], variables: &[(&str, &str)]) -> (BTreeMap<String, String>, Option<i32>) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let output = roost(&arguments, variables).output().unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let line = |finding| format!("{}: {}", text(finding, "status"), text(finding, "message"));
    let findings = findings
        .iter()
        .map(|finding| (text(finding, "check"), line(finding)));
    (findings.collect(), output.status.code())
}

fn assert_all(findings: &BTreeMap<String, String>, expected: &[(&str, &str, &str)]) {
    for (check, status, part) in expected {
        let line = findings
            .get(*check)
            .unwrap_or_else(|| panic!("{check}: {findings:?}"));
        assert!(line.starts_with(status) && line.contains(part), "{check}: {line}");
    }
}

/// A running `roost up` and its URL.
struct Up(Child, String);

impl Up {
    fn start(data: &str) -> Self {
        let mut child = roost(&["up", "--data", data, "--listen", "127.0.0.1:0", "--json"], &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self(child, ready["url"].as_str().unwrap().to_owned())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_is_well_where_it_should_be_and_says_what_to_do_where_it_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let up = Up::start(&data);
    let edge = up.1.as_str();
    let model = ModelServer::start(Script::turns(Vec::new())).await.unwrap();
    model.set_key("good");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sprites = format!("http://{}", listener.local_addr().unwrap());
    let config = HostConfig::new(
        directory.path().join("sprites"),
        "good",
        env!("CARGO_BIN_EXE_roost"),
    );
    tokio::spawn(async move { host::serve(listener, config, std::future::pending()).await });
    let token = roost(&["token", "runner", "--name", "x", "--data", &data], &[])
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap();

    let (findings, exit) = tokio::task::block_in_place(|| doctor(&["--data", &data], &[]));
    assert_eq!(exit, Some(0), "{findings:?}");
    assert_all(
        &findings,
        &[
            ("git", "ok", "git version"),
            ("bash", "ok", "bash"),
            // How much room there is depends on the machine.
            ("data directory", "", &data),
            ("master key", "ok", "keep a copy"),
            ("database", "ok", "up to date and whole: 0 deliveries"),
            ("isolation", "ok", "sprites are isolated: namespaces"),
            ("model provider", "warn", "ANTHROPIC_API_KEY"),
        ],
    );

    let of = |key| {
        [
            ("ROOST_EDGE_URL", edge),
            ("ROOST_PUBLIC_URL", edge),
            (
                "ROOST_RUNNER_TOKEN",
                if key == "good" { token.trim() } else { key },
            ),
            ("ROOST_SPRITES_URL", &sprites),
            ("ROOST_SPRITES_TOKEN", key),
            ("OPENAI_API_KEY", key),
        ]
    };
    let openai = format!("{}/v1", model.url());
    let with_model = |key| [&of(key)[..], &[("OPENAI_BASE_URL", openai.as_str())]].concat();
    let arguments = ["--data", data.as_str()];
    let (findings, exit) = tokio::task::block_in_place(|| doctor(&arguments, &with_model("good")));
    assert_eq!(exit, Some(0), "{findings:?}");
    assert_all(
        &findings,
        &[
            ("edge", "ok", "is well"),
            ("clock", "ok", "agree"),
            ("public URL", "warn", "without TLS"),
            ("runner token", "ok", "takes it"),
            ("sprites", "ok", "takes the token"),
            ("model provider", "ok", "openai"),
        ],
    );

    // Walls that were given up are said, whatever the machine could give.
    let open = directory.path().join("open.toml");
    std::fs::write(&open, "[sprites]\nisolation = \"none\"\n").unwrap();
    let open = ["--data", &data, "--config", open.to_str().unwrap()];
    let (findings, _) = tokio::task::block_in_place(|| doctor(&open, &[]));
    assert_all(&findings, &[("isolation", "warn", "--unsafe-no-isolation away")]);

    let (findings, exit) = tokio::task::block_in_place(|| doctor(&arguments, &with_model("bad")));
    assert_eq!(exit, Some(1), "{findings:?}");
    assert_all(
        &findings,
        &[
            ("runner token", "fail", "`roost token runner --name NAME`"),
            ("sprites", "fail", "bearer token"),
            ("model provider", "fail", "refuses the key"),
        ],
    );

    let away = [
        ("ROOST_EDGE_URL", NOBODY),
        ("ROOST_PUBLIC_URL", NOBODY),
        ("ROOST_SPRITES_URL", NOBODY),
        ("ROOST_SPRITES_TOKEN", "x"),
        ("OPENAI_BASE_URL", NOBODY),
        ("PATH", "/nonexistent"),
    ];
    let elsewhere = [
        "--data",
        "/nonexistent/data",
        "--database",
        NOBODY,
        "--master-key",
        "short",
    ];
    let (findings, exit) = tokio::task::block_in_place(|| doctor(&elsewhere, &away));
    assert_eq!(exit, Some(1), "{findings:?}");
    let refused = "Connection refused";
    assert_all(
        &findings,
        &[
            ("git", "fail", "install it"),
            ("bash", "fail", "install it"),
            ("python3", "warn", "`roost demo`"),
            ("master key", "fail", "openssl rand -base64 32"),
            ("database", "fail", "check its path or URL"),
            ("edge", "fail", "start it with `roost up`"),
            ("edge", "fail", refused),
            ("public URL", "warn", refused),
            ("sprites", "fail", refused),
            ("model provider", "fail", refused),
        ],
    );
}
