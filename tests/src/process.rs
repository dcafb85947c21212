//! One started program: its output, line by line, and its end.
//!
//! Invariant: dropping a [`Process`] kills it and waits for it; if the test is failing, its last lines are printed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many lines of its log a failing test prints.
const SHOWN_LINES: usize = 60;

/// How long a program may take to start or stop before its test fails, on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `command`; standard output and standard error go to one log, line by line.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error} ({command:?})"));
        let (sender, lines) = mpsc::unbounded_channel();
        let log = Arc::default();
        follow(child.stdout.take(), &sender, &log);
        follow(child.stderr.take(), &sender, &log);
        Self {
            name: name.to_owned(),
            child,
            lines,
            log,
        }
    }

    /// Reads lines until `find` makes something of one.
    ///
    /// # Panics
    /// When the program ends or [`PATIENCE`] does before that.
    pub async fn line<T>(&mut self, find: impl FnMut(&str) -> Option<T>) -> T {
        match self.try_line(find).await {
            Some(found) => found,
            None => panic!("{} ended too early:\n{}", self.name, self.log()),
        }
    }

    /// As [`line`](Self::line), but `None` when the program ends first.
    ///
    /// # Panics
    /// When [`PATIENCE`] ends first.
    pub async fn try_line<T>(&mut self, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                if let Some(found) = find(&line) {
                    return Some(found);
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("{} says nothing of it:\n{}", self.name, self.log()),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    ///
    /// # Panics
    /// When a reader of its output panicked.
    pub fn log(&self) -> String {
        let log = self.log.lock().expect("nothing panics while it holds the log");
        log[log.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Ends it at once, as a power cut would, and waits until it is gone.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub async fn terminate(&mut self) -> ExitStatus {
        let asked = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(asked.success(), "{} was gone already", self.name);
        self.exit().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub async fn exit(&mut self) -> ExitStatus {
        // Its output closes when it ends, so there is no need to poll.
        let end: Option<()> = self.try_line(|_| None).await;
        debug_assert!(end.is_none());
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- the end of the log of {}\n{}\n----", self.name, self.log());
        }
    }
}

/// Copies an output, line by line, into the channel and the log until it closes.
fn follow<R: Read + Send + 'static>(
    output: Option<R>,
    lines: &mpsc::UnboundedSender<String>,
    log: &Arc<Mutex<Vec<String>>>,
) {
    let (Some(output), lines, log) = (output, lines.clone(), Arc::clone(log)) else {
        return;
    };
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Ok(mut log) = log.lock() {
                log.push(line.clone());
            }
            // Nobody may be listening any more; the log is kept all the same.
            drop(lines.send(line));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("shell", command)
    }

    #[tokio::test]
    async fn a_line_of_either_output_is_found_and_the_log_keeps_both() {
        let mut process = shell("echo one; echo port 17 >&2; exec cat");
        let port: u16 = process
            .line(|line| line.strip_prefix("port ")?.parse().ok())
            .await;
        assert_eq!(port, 17);
        assert!(process.log().contains("port 17"));
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let process = shell("exec tail -f /dev/null");
        let id = process.id().to_string();
        let there = |id: &str| std::path::Path::new("/proc").join(id).exists();
        assert!(there(&id));
        drop(process);
        assert!(!there(&id));
    }

    #[tokio::test]
    async fn an_asked_process_ends_with_its_own_status() {
        let mut process = shell("trap 'exit 3' TERM; echo ready; while :; do read x < /dev/null; done");
        process.line(|line| (line == "ready").then_some(())).await;
        assert_eq!(process.terminate().await.code(), Some(3));
    }
}
