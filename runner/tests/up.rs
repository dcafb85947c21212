//! `roost up` as a process: starts and ends on one data directory, again and again, one process at a time.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use futures::StreamExt;
use roost_runner::standin::model::{ModelServer, Script, Turn};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn roost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.args(arguments).env_clear();
    for name in ["PATH", "HOME"] {
        command.env(name, std::env::var_os(name).unwrap_or_default());
    }
    command
}

/// A running `roost up`, and what it said when it was ready.
struct Up {
    child: Child,
    ready: Value,
}

impl Up {
    fn start(data: &str) -> Self {
        let mut child = roost(&["up", "--data", data, "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { child, ready }
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_data_directory_serves_one_process_at_a_time_and_is_backed_up_and_restored() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap();
    let mut first = Up::start(path);
    let login = first.ready["login"].as_str().unwrap().to_owned();
    assert!(login.starts_with(&format!(
        "{}/admin/login?code=",
        first.ready["url"].as_str().unwrap()
    )));
    let key_file = data.path().join("master.key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(
        std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // A port of its own, and no other word than the directory.
    assert_eq!(
        said(&["runs", "--data", path, "--json"]),
        r#"{"items":[],"next":null}"#
    );

    let second = roost(&["up", "--data", path, "--listen", "127.0.0.1:0", "--json"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let refused = String::from_utf8(second.stderr).unwrap();
    assert!(refused.contains("data_directory_in_use"), "{refused}");

    let backup: Value = serde_json::from_str(&said(&["backup", "--data", path, "--json"])).unwrap();
    assert_eq!(backup["faults"], json!([]));
    assert_eq!(backup["master_key"], json!(key_file));
    let backup = backup["to"].as_str().unwrap();
    let restore = ["restore", backup, "--data", path];
    let refused = roost(&restore).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("is in use; stop the edge"), "{refused}");

    assert_eq!(first.end(Signal::TERM), Some(0));
    assert!(said(&restore).contains("The one before is kept as"));
    let mut again = Up::start(path);
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), key);
    assert_eq!(again.end(Signal::INT), Some(0));
}

/// What a program says on standard output, when all goes well.
fn said(arguments: &[&str]) -> String {
    let output = roost(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    async fn make(&self, what: &str, body: Value) -> Value {
        let request = self
            .http
            .post(format!("{}/api/v1/{what}", self.base))
            .bearer_auth(&self.token);
        let answer = request.json(&body).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// Follows the run until an event of that type, and gives the types up to it.
    async fn until(&self, run: &str, last: &str) -> Vec<String> {
        let request = self
            .http
            .get(format!("{}/api/v1/runs/{run}/events", self.base))
            .bearer_auth(&self.token);
        let answer = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        let (mut stream, mut text) = (answer.bytes_stream(), String::new());
        loop {
            let types: Vec<String> = text
                .split("\n\n")
                .filter_map(|message| message.split("data: ").nth(1))
                .filter_map(|data| serde_json::from_str::<Value>(data).ok())
                .map(|event| event["type"].as_str().unwrap().to_owned())
                .collect();
            if types.iter().any(|kind| kind == last) {
                return types;
            }
            let chunk = stream
                .next()
                .await
                .unwrap_or_else(|| panic!("no {last} in {types:?}"));
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        }
    }
}

#[tokio::test]
async fn a_run_under_way_is_given_back_and_goes_on_after_the_next_start() {
    let model = ModelServer::start(Script::by(|asked| match asked.position {
        0 => Turn::call("bash", json!({ "command": "sleep 2; echo slept" })),
        _ => Turn::say("I went on."),
    }))
    .await
    .unwrap();
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap();
    let file = format!(
        "[models.providers.scripted]\napi = \"anthropic\"\nbase_url = \"{}\"\nkey = \"k\"\n",
        model.url()
    );
    std::fs::write(data.path().join("roost.toml"), file).unwrap();

    let mut up = Up::start(path);
    let mut api = Api {
        http: reqwest::Client::new(),
        base: up.ready["url"].as_str().unwrap().to_owned(),
        token: said(&["token", "api", "--name", "test", "--data", path]),
    };
    let secret = "a secret for this test";
    let hooks = json!({ "name": "hooks", "settings": { "channel": "generic" },
        "secrets": { "channel": "generic", "signing": [secret] } });
    let hooks = api.make("integrations", hooks).await;
    let agent = json!({ "handle": "roost", "name": "Roost", "model": "scripted/test" });
    let agent = api.make("agents", agent).await;
    let rule = json!({ "agent": agent["id"], "integration": hooks["id"], "rule": { "on": "any" } });
    api.make("subscriptions", rule).await;
    let to = format!("{}/hooks/main/hooks", api.base);
    let sent = said(&[
        "send", "generic", "message", "--to", &to, "--secret", secret, "--json",
    ]);
    let sent: Value = serde_json::from_str(&sent).unwrap();
    let run = sent["answer"]["runs"][0].as_str().unwrap().to_owned();

    api.until(&run, "session_opened").await;
    assert_eq!(up.end(Signal::TERM), Some(0));
    drop(up);

    let up = Up::start(path);
    api.base = up.ready["url"].as_str().unwrap().to_owned();
    let types = api.until(&run, "completed").await;
    let released = types.iter().position(|kind| kind == "released").unwrap();
    assert!(types[released..].iter().any(|kind| kind == "leased"), "{types:?}");
}
