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
        command.args(arguments);
        Self::of(&format!("roost {}", arguments.join(" ")), command, variables)
    }

    /// Starts a command that becomes `roost`, with the same environment.
    ///
    /// # Panics
    /// When it does not start.
    pub fn of(name: &str, mut command: Command, variables: &[(&str, &str)]) -> Self {
        command.env_clear();
        let inherited = ["PATH", "HOME"]
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .envs(inherited)
            .env("RUST_BACKTRACE", "1")
            .envs(variables.iter().copied());
        Self {
            process: Process::start(name, command),
        }
    }

    /// The address it says it listens on, `http://127.0.0.1:PORT`.
    ///
    /// # Panics
    /// When it ends or takes too long before it says so.
    pub async fn address(&mut self) -> String {
        let address = |line: &str| {
            let start = line.find("http://127.0.0.1:")?;
            let end = line[start..]
                .find(|c: char| c.is_whitespace() || c == '"')
                .map_or(line.len(), |end| start + end);
            Some(line[start..end].trim_end_matches(['/', ',']).to_owned())
        };
        self.line(address).await
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

/// The binary that Cargo built beside this program: tests lie in `target/PROFILE/deps`, other programs and it in
/// `target/PROFILE`.
pub fn binary() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    let beside = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("roost"));
    beside
        .into_iter()
        .find(|binary| binary.is_file())
        .unwrap_or_else(|| {
            panic!(
                "`roost` is not beside {}: run `cargo build -p roost-runner`",
                program.display()
            )
        })
}
