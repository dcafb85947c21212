//! The native binary `roost` as a process.

use crate::Process;
use std::path::PathBuf;
use std::process::Command;

/// A running `roost`.
#[derive(Debug)]
pub struct RoostProcess {
    process: Process,
}

impl RoostProcess {
    /// Starts `roost` with arguments and variables, `(name, value)`. Of the test's own environment it sees nothing
    /// but `PATH` and `HOME`, so that a developer's settings change no result.
    ///
    /// # Panics
    /// When the binary is not built.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear();
        let inherited = ["PATH", "HOME"]
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .envs(inherited)
            .env("RUST_BACKTRACE", "1")
            .envs(variables.iter().copied());
        Self {
            process: Process::start(&format!("roost {}", arguments.join(" ")), command),
        }
    }

    /// Reads its output until `find` makes something of a line: its address, for example.
    ///
    /// # Panics
    /// When it ends or takes too long before that.
    pub async fn line<T>(&mut self, find: impl FnMut(&str) -> Option<T>) -> T {
        self.process.line(find).await
    }

    /// The process, for its log or its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The binary that Cargo built beside this test: tests lie in `target/PROFILE/deps`, it in `target/PROFILE`.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let binary = test.ancestors().nth(2).expect("two folders up").join("roost");
    assert!(
        binary.is_file(),
        "{} is not there: run `cargo build -p roost-runner`",
        binary.display()
    );
    binary
}
