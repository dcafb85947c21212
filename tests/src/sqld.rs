//! The real libSQL server on a folder of its own.

use crate::{Process, free_port, tool};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often a port that was taken in between is replaced.
const TRIES: usize = 5;

/// A running libSQL server; its folder goes with it.
#[derive(Debug)]
pub struct Sqld {
    process: Process,
    folder: TempDir,
    arguments: Vec<String>,
    port: u16,
}

impl Sqld {
    /// What the guide has a server started with whose edge runs on Spin: that writes from as many instances as the
    /// host likes, and its queue of writers comes to a standstill when many wait in it.
    pub const FEW_CONNECTIONS: [&str; 4] = [
        "--max-concurrent-connections",
        "3",
        "--connection-creation-timeout-sec",
        "10",
    ];

    /// Starts an empty one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts an empty one with more arguments, for example `--auth-jwt-key-file`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        for _ in 0..TRIES {
            let port = free_port();
            if let Some(process) = launch(&folder, &arguments, port).await {
                return Self {
                    process,
                    folder,
                    arguments,
                    port,
                };
            }
        }
        panic!("the libSQL server does not start on any of {TRIES} ports");
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once; its folder stays for [`restart`](Self::restart).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same folder and port, after [`kill`](Self::kill).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.folder, &self.arguments, self.port)
            .await
            .expect("the port is still free");
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Starts it and waits until it answers; `None` when it ends, because the port was taken.
async fn launch(folder: &TempDir, arguments: &[String], port: u16) -> Option<Process> {
    let mut command = Command::new(tool("sqld"));
    command
        .args([
            "--no-welcome",
            "--http-listen-addr",
            &format!("127.0.0.1:{port}"),
            "--db-path",
        ])
        .arg(folder.path())
        .args(arguments)
        .env("RUST_LOG", "info")
        .env("NO_COLOR", "1");
    let mut process = Process::start("sqld", command);
    process
        .try_line(|line| {
            line.contains("listening for incoming user HTTP connection")
                .then_some(())
        })
        .await?;
    answers(&format!("{}/health", url(port))).await.then_some(process)
}

/// The line of the log comes a moment before the port is open, so it is asked until it answers.
async fn answers(health: &str) -> bool {
    let client = reqwest::Client::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if client
            .get(health)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}
