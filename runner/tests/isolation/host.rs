//! A sprite host as a process of its own, and sprites in it to attack from.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Child, Command, Stdio},
    time::Duration,
};

use roost_runner::sprite::{ExecRequest, Sprite, Sprites};
use tokio::time::timeout;

const TOKEN: &str = "a token for tests";
const PATIENCE: Duration = Duration::from_secs(30);
/// `nobody` on most systems: a user who owns nothing.
const ORDINARY: u32 = 65_534;

/// Who runs the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Own,
    /// Somebody who is not root.
    Ordinary,
}

pub(crate) struct Host {
    pub(crate) user: User,
    child: Child,
    /// Where it listens, for attempts to reach it from inside.
    pub(crate) port: u16,
    sprites: Sprites,
    pub(crate) attacker: Sprite,
    pub(crate) victim: Sprite,
    pub(crate) data: tempfile::TempDir,
}

impl Host {
    /// Starts it with small limits; `None` where it says that it can't wall sprites in.
    pub(crate) async fn start(user: User) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), user).await
    }

    /// The same, where an earlier one may have been.
    pub(crate) async fn start_in(data: tempfile::TempDir, user: User) -> Option<Self> {
        let config = data.path().join("roost.toml");
        std::fs::write(
            &config,
            "[sprites]\nmemory_mb = 512\ndisk_mb = 64\nprocesses = 64\n",
        )
        .unwrap();
        // A copy that the ordinary user can run, wherever the build directory is.
        let program = data.path().join("roost");
        std::fs::copy(env!("CARGO_BIN_EXE_roost"), &program).unwrap();
        let mut command = Command::new(&program);
        if user == User::Ordinary {
            std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(data.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
            command.uid(ORDINARY).gid(ORDINARY);
        }
        let mut child = command
            .args(["sprites", "--listen", "127.0.0.1:0", "--json", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(data.path().join("host"))
            .current_dir(data.path())
            .env_clear()
            .env("ROOST_SPRITES_TOKEN", TOKEN)
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .and_then(|event| event["url"].as_str().map(str::to_owned));
        let sprites = url.as_deref().map(|url| Sprites::new(url, TOKEN).unwrap());
        let (Some(url), Some(sprites)) = (url, sprites) else {
            return refused(child);
        };
        // The host tries its walls after it listens; if they don't stand, it ends.
        let Ok(attacker) = sprites.ensure("attacker").await else {
            return refused(child);
        };
        let victim = sprites.ensure("victim").await.unwrap();
        let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
        Some(Self {
            user,
            child,
            port,
            sprites,
            attacker,
            victim,
            data,
        })
    }

    /// The host's own process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs and answers.
    pub(crate) async fn is_well(&self) -> bool {
        timeout(PATIENCE, self.sprites.list(""))
            .await
            .is_ok_and(|list| list.is_ok())
    }

    /// Another sprite, for attempts that leave theirs unusable.
    pub(crate) async fn sprite(&self, name: &str) -> Sprite {
        self.sprites.ensure(name).await.unwrap()
    }

    /// Sets a sprite's network policy.
    pub(crate) async fn policy(&self, sprite: &str, policy: &'static str) -> Result<(), String> {
        let url = format!(
            "http://127.0.0.1:{}/v1/sprites/{sprite}/policy/network",
            self.port
        );
        let posting = reqwest::Client::new().post(url).bearer_auth(TOKEN);
        let answer = posting
            .header("content-type", "application/json")
            .body(policy)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!(
            "the policy was refused: {status} {}",
            answer.text().await.unwrap_or_default()
        ))
    }

    /// Deletes a sprite.
    pub(crate) async fn end(&self, sprite: &Sprite) -> bool {
        self.sprites.delete(sprite.name()).await.is_ok()
    }

    /// Ends it; what it kept is there.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        tokio::task::spawn_blocking(move || self.child.wait())
            .await
            .unwrap()
            .unwrap();
        self.data
    }
}

/// A host that ended must have said that it was for want of walls.
fn refused(child: Child) -> Option<Host> {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("sprites can't be isolated"), "{said}");
    None
}

/// Runs a shell script in a sprite; its exit code and all it said.
pub(crate) async fn sh(sprite: &Sprite, script: &str) -> (i32, String) {
    let running = async {
        let exec = sprite.exec(ExecRequest::new(["bash", "-c", script])).await?;
        exec.output(1 << 20).await
    };
    match timeout(PATIENCE, running).await {
        Ok(Ok(output)) => {
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
            (output.exit_code, said.concat())
        }
        Ok(Err(error)) => (-1, error.to_string()),
        Err(_) => (-2, "it did not end in time".into()),
    }
}

/// The processes of this machine that have the mark as an argument.
pub(crate) fn processes(mark: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut arguments = String::new();
        let opened = std::fs::File::open(process.path().join("cmdline"));
        if opened.is_ok_and(|mut file| file.read_to_string(&mut arguments).is_ok())
            && arguments.contains(&format!("\0{mark}\0"))
        {
            found.push(pid);
        }
    }
    found
}
