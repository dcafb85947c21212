//! The peers' own programs: where they lie, and how they and their servers are started on ports of ours.

use std::{future::Future, os::unix::fs::symlink, path::Path, process::Command};

use tempfile::TempDir;
use xtask::{Failure, peers};

use crate::{Process, free_port, office::SECRET, toolbox};

/// How often a port that was taken in between is replaced.
const TRIES: usize = 5;

/// A directory of one measurement: copies of the Node programs beside their packages, and room for data.
#[derive(Debug)]
pub(super) struct Workshop {
    folder: TempDir,
}

impl Workshop {
    pub(super) fn new() -> Result<Self, String> {
        let toolbox = toolbox();
        let modules = peers::node_modules(&toolbox).map_err(said)?;
        // In the build directory, as Roost's own data: on the same disk.
        let folder = tempfile::tempdir_in("target").expect("a directory");
        symlink(modules, folder.path().join("node_modules")).expect("a link");
        for entry in scripts().read_dir().expect("the peers' programs") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|extension| extension == "mjs") {
                let name = path.file_name().expect("a name");
                std::fs::copy(&path, folder.path().join(name)).expect("a copy");
            }
        }
        Ok(Self { folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A Node program of the peers with its mode and variables.
    pub(super) fn node(&self, script: &str, mode: &str, variables: &[(&str, String)]) -> Command {
        let node = peers::node(&toolbox()).expect("the workshop found the packages");
        let mut command = Command::new(node);
        command
            .arg(self.path().join(script))
            .arg(mode)
            .env("NODE_ENV", "production")
            .env("WEBHOOK_SECRET", SECRET)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The version of an npm package.
    pub(super) fn version(&self, package: &str) -> String {
        let path = self
            .path()
            .join("node_modules")
            .join(package)
            .join("package.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        package["version"].as_str().unwrap_or("?").to_owned()
    }
}

/// Where the peers' programs lie in the checkout.
pub(super) fn scripts() -> std::path::PathBuf {
    toolbox().workspace().join("tests/peers")
}

/// A failure of the toolbox as a reason.
pub(super) fn said(failure: Failure) -> String {
    failure.to_string().trim_end_matches('.').to_owned()
}

/// A program that says `listening http://ADDRESS`, and that address, `127.0.0.1:PORT`.
pub(super) async fn listening(name: &str, command: Command) -> (Process, String) {
    let mut process = Process::start(name, command);
    let address = process
        .line(|line| Some(line.strip_prefix("listening http://")?.to_owned()))
        .await;
    (process, address)
}

/// What a program prints on its first line, as a number.
pub(super) async fn printed(name: &str, command: Command) -> usize {
    Process::start(name, command)
        .line(|line| line.trim().parse().ok())
        .await
}

/// Starts something that has to be told its port.
pub(super) async fn on_a_port<T, F: Future<Output = Option<T>>>(
    name: &str,
    start: impl Fn(u16) -> F,
) -> Result<(T, u16), String> {
    for _ in 0..TRIES {
        let port = free_port();
        if let Some(started) = start(port).await {
            return Ok((started, port));
        }
    }
    Err(format!("{name} does not start on any of {TRIES} ports"))
}

/// Starts a server and waits for the line in which it says that it is ready; `None` when it ends before.
pub(super) async fn ready(name: &str, command: Command, line: &str) -> Option<Process> {
    let mut process = Process::start(name, command);
    process.try_line(|text| text.contains(line).then_some(())).await?;
    Some(process)
}
