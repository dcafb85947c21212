//! A host with one sprite, and the readers of what commands say.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use roost_runner::sprite::{
    Exec, ExecFrame, ExecRequest, FileEntry, Sprite, Sprites,
    host::{self, HostConfig},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

pub(crate) const TOKEN: &str = "a token for tests";

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) sprites: Sprites,
    pub(crate) base: String,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) server: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn on(dir: &Path) -> Self {
        Self::with(HostConfig::new(dir, TOKEN, env!("CARGO_BIN_EXE_roost"))).await
    }

    pub(crate) async fn with(config: HostConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            host::serve(listener, config, stopped).await.unwrap();
        });
        Self {
            sprites: Sprites::new(&base, TOKEN).unwrap(),
            base,
            stop,
            server,
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.sprites);
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.server)
            .await
            .expect("the host stops")
            .unwrap();
    }
}

/// A host with one sprite.
pub(crate) async fn sprite() -> (tempfile::TempDir, Running, Sprite) {
    let dir = tempfile::tempdir().unwrap();
    let host = Running::on(dir.path()).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    (dir, host, sprite)
}

pub(crate) fn sh(script: &str) -> ExecRequest {
    ExecRequest::new(["bash", "-c", script])
}

pub(crate) async fn run(sprite: &Sprite, script: &str) -> String {
    let output = sprite
        .exec(sh(script))
        .await
        .unwrap()
        .output(1 << 20)
        .await
        .unwrap();
    assert_eq!(
        output.exit_code,
        0,
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.to_vec()).unwrap()
}

/// Reads frames until stdout contains `text`; returns all stdout so far.
pub(crate) async fn read_until(exec: &mut Exec, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let frame = timeout(PATIENCE, exec.next())
            .await
            .unwrap_or_else(|_| panic!("no {text:?} in {seen:?}"));
        match frame.expect("more output").unwrap() {
            ExecFrame::Stdout(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} instead of {text:?} after {seen:?}"),
        }
    }
    seen
}

/// Reads to the exit; returns the rest of stdout and the exit code.
pub(crate) async fn read_exit(exec: &mut Exec) -> (String, i32) {
    let mut seen = String::new();
    loop {
        match timeout(PATIENCE, exec.next())
            .await
            .expect("it ends")
            .expect("an exit")
            .unwrap()
        {
            ExecFrame::Stdout(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            ExecFrame::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            ExecFrame::Exit(code) => {
                assert!(exec.next().await.is_none(), "nothing follows the exit");
                return (seen, code);
            }
        }
    }
}

/// A long time, in seconds, that no other test's `sleep` has: what has it among its arguments is this test's.
pub(crate) fn long() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("1000.{}{number:06}", std::process::id())
}

/// How many processes of this machine have the mark among their arguments; pids inside a sprite are its own.
/// A process in the middle of becoming another program shows no arguments, so one look proves no absence.
fn running(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .filter(|arguments| String::from_utf8_lossy(arguments).contains(mark))
        .count()
}

/// Waits until `count` processes or more run with the mark.
pub(crate) async fn until_running(mark: &str, count: usize) {
    let there = timeout(PATIENCE, async {
        while running(mark) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    there
        .await
        .unwrap_or_else(|_| panic!("{} of {count} run with {mark}", running(mark)));
}

/// Waits until no process with the mark runs.
pub(crate) async fn until_dead(mark: &str) {
    let gone = timeout(PATIENCE, async {
        while running(mark) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.unwrap_or_else(|_| panic!("{mark} still runs"));
}

pub(crate) fn names(entries: Vec<FileEntry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.name).collect()
}
