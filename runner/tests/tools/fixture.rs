//! A run in a sprite of a host of its own, and the standard tools.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use roost_runner::{
    sprite::{
        Sprites,
        host::{self, HostConfig},
    },
    tool::{SessionLog, SessionLogError, ToolContext, ToolOutput, Tools, standard},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

pub(crate) const TOKEN: &str = "a token for tests";

/// What takes longer never comes; long enough for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// A journal of sessions; `refuse` makes it one of a run that was taken away.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) sessions: Mutex<Vec<String>>,
    pub(crate) refuse: bool,
}

#[async_trait]
impl SessionLog for Log {
    async fn session_opened(
        &self,
        purpose: &str,
        sprite: &str,
        session: &str,
    ) -> Result<(), SessionLogError> {
        assert_eq!((purpose, sprite), ("bash", "agent-7"));
        if self.refuse {
            return Err(SessionLogError("the lease is lost".into()));
        }
        self.sessions.lock().unwrap().push(session.to_owned());
        Ok(())
    }
}

pub(crate) struct Fixture {
    pub(crate) sprites: Sprites,
    pub(crate) base: String,
    pub(crate) home: PathBuf,
    pub(crate) log: Arc<Log>,
    pub(crate) tools: Tools,
    pub(crate) context: ToolContext,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) server: JoinHandle<()>,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn on(dir: tempfile::TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
        // Every connection that is cut may leave a shell behind, and how many of them there are at a time is a matter of speed.
        config.limits.sessions = 2_048;
        config.limits.processes = 8_192;
        let server = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            host::serve(listener, config, stopped).await.unwrap();
        });
        let sprites = Sprites::new(&base, TOKEN).unwrap();
        let sprite = sprites.ensure("agent-7").await.unwrap();
        let log = Arc::new(Log::default());
        let context = ToolContext::new("run-1", sprite, log.clone());
        let home = dir
            .path()
            .canonicalize()
            .unwrap()
            .join("sprites/agent-7/root/home/sprite");
        Self {
            sprites,
            base,
            home,
            log,
            tools: standard(),
            context,
            stop,
            server,
            dir,
        }
    }

    /// Another runner's view of the same run.
    pub(crate) async fn next_runner(&self) -> ToolContext {
        let context = ToolContext::new("run-1", self.sprites.sprite("agent-7"), self.log.clone());
        if let Some(session) = self.sessions().last() {
            context.resume_session("bash", session).await;
        }
        context
    }

    pub(crate) fn sessions(&self) -> Vec<String> {
        self.log.sessions.lock().unwrap().clone()
    }

    pub(crate) async fn call(&self, tool: &str, input: Value) -> ToolOutput {
        timeout(PATIENCE, self.tools.call(&self.context, tool, input))
            .await
            .expect("the tool answers")
    }

    pub(crate) async fn ok(&self, tool: &str, input: Value) -> String {
        let output = self.call(tool, input).await;
        assert!(!output.is_error, "{}", output.text);
        output.text
    }

    pub(crate) async fn bash(&self, command: &str) -> String {
        self.ok("bash", json!({"command": command})).await
    }

    pub(crate) async fn fails(&self, tool: &str, input: Value, why: &str) -> String {
        let output = self.call(tool, input).await;
        assert!(
            output.is_error && output.text.contains(why),
            "{why:?} is not in {:?}",
            output.text
        );
        output.text
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.context.close().await;
        self.crash().await
    }

    /// Ends the host; the run's sessions are left to it.
    pub(crate) async fn crash(self) -> tempfile::TempDir {
        drop((self.sprites, self.context));
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.server)
            .await
            .expect("the host stops")
            .unwrap();
        self.dir
    }
}

impl Fixture {
    /// As `bash`, for a command that is made on the spot.
    pub(crate) async fn bash_of(&self, command: String) -> String {
        self.bash(&command).await
    }
}

pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}

pub(crate) fn runs(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments
        .filter(|arguments| arguments.starts_with(b"sleep\0"))
        .any(|arguments| String::from_utf8_lossy(&arguments).contains(mark))
}
