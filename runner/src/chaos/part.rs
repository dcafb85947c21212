//! A part: one real process that is started, killed, stopped and started again on the same place.
//!
//! Invariant: a part is gone when this is dropped; a process that ends without having been asked to is counted, for that is
//! a fault of ours and not of the plan.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};

use crate::cli::Failure;

/// How long a part may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a part may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(30);

/// How a part says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// By its first line.
    Line,
    /// By taking connections.
    Port(u16),
}

/// What is to be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is called in the report, one word.
    pub name: String,
    /// The program.
    pub file: PathBuf,
    /// Its arguments; `{start}` stands for the number of the start.
    pub arguments: Vec<String>,
    /// All of its environment but `PATH` and `HOME`.
    pub variables: Vec<(String, String)>,
    /// How it says that it is ready.
    pub ready: Ready,
}

/// One part.
#[derive(Debug)]
pub struct Part {
    program: Program,
    log: PathBuf,
    child: Option<Child>,
    starts: u32,
    crashes: u32,
}

/// A part, for whoever needs it next.
pub type Shared = Arc<Mutex<Part>>;

impl Part {
    /// A part that is not started yet; what it says goes to a file in `logs`.
    pub fn new(program: Program, logs: &Path) -> Self {
        Self {
            log: logs.join(format!("{}.log", program.name)),
            program,
            child: None,
            starts: 0,
            crashes: 0,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// How often it ended without being asked to.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// Starts it, unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it can't be started, or is not ready in time.
    pub async fn start(&mut self) -> Result<(), Failure> {
        self.notice();
        if self.child.is_some() {
            return Ok(());
        }
        let mut child = self.spawn().map_err(|error| self.failed(error))?;
        self.starts += 1;
        let ready = match self.program.ready {
            Ready::Line => {
                let out = child.stdout.take();
                timeout(READY_WITHIN, first_line(out)).await
            }
            Ready::Port(port) => timeout(READY_WITHIN, open(port)).await,
        };
        self.child = Some(child);
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.failed("it is not ready in time")),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let out = match self.program.ready {
            Ready::Line => Stdio::piped(),
            Ready::Port(_) => log.try_clone()?.into(),
        };
        let number = self.starts.to_string();
        let mut command = Command::new(&self.program.file);
        command
            .args(
                self.program
                    .arguments
                    .iter()
                    .map(|argument| argument.replace("{start}", &number)),
            )
            .env_clear()
            .envs(
                ["PATH", "HOME"]
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(self.program.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .kill_on_drop(true);
        command.spawn()
    }

    fn failed(&self, error: impl std::fmt::Display) -> Failure {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let last = said.lines().last().unwrap_or("nothing");
        let message = format!(
            "{} can't be started: {error}; it said last: {last}",
            self.program.name
        );
        Failure::failed("chaos_part", message)
    }

    /// Counts an end nobody asked for.
    pub fn notice(&mut self) {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            tracing::warn!(part = self.program.name, %status, "a part ended by itself");
            self.crashes += 1;
            self.child = None;
        }
    }

    /// Ends it at once, as a crash does.
    pub async fn kill(&mut self) {
        self.notice();
        if let Some(mut child) = self.child.take() {
            // It is our child and has not been waited for, so there is nothing that could fail.
            drop(child.kill().await);
        }
    }

    /// Asks it to end and waits until it has; one that takes too long is killed.
    pub async fn terminate(&mut self) {
        self.notice();
        self.signal(Signal::TERM);
        if let Some(mut child) = self.child.take()
            && timeout(END_WITHIN, child.wait()).await.is_err()
        {
            tracing::warn!(part = self.program.name, "a part does not end when asked");
            drop(child.kill().await);
        }
    }

    /// Holds it in its tracks.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id);
        if let Some(id) = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // One that has just ended hears nothing, and need not.
            let _ = kill_process(id, signal);
        }
    }
}

/// Waits for the first line, and goes on reading so that the part never waits for us.
async fn first_line(out: Option<tokio::process::ChildStdout>) -> io::Result<()> {
    let mut lines = BufReader::new(out.ok_or(io::ErrorKind::BrokenPipe)?).lines();
    if lines.next_line().await?.is_none() {
        return Err(io::Error::other("it ended"));
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}

async fn open(port: u16) -> io::Result<()> {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
