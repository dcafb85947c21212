//! `roost up` as a process: starts and ends on one data directory, again and again, one process at a time.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

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
fn a_data_directory_serves_one_process_at_a_time_and_keeps_its_key() {
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

    let second = roost(&["up", "--data", path, "--listen", "127.0.0.1:0", "--json"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("data_directory_in_use"), "{said}");

    assert_eq!(first.end(Signal::TERM), Some(0));
    let mut again = Up::start(path);
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), key);
    assert_eq!(again.end(Signal::INT), Some(0));
}
