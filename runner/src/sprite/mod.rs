//! Sprites: the client of the Sprites API, and under [`host`] our own server of that same API.
//!
//! Invariant: the client knows nothing of the server it talks to but the protocol, so the runner cannot tell
//! `api.sprites.dev` from the local host.
//!
//! ```no_run
//! # async fn example() -> Result<(), roost_runner::sprite::SpriteError> {
//! use roost_runner::sprite::{ExecFrame, ExecRequest, Sprites};
//!
//! let sprites = Sprites::new("http://127.0.0.1:7420", "token")?;
//! let sprite = sprites.ensure("agent-7").await?;
//! let mut exec = sprite.exec(ExecRequest::new(["make", "test"])).await?;
//! println!("session {}", exec.session_id());
//! while let Some(frame) = exec.next().await {
//!     match frame? {
//!         ExecFrame::Stdout(bytes) | ExecFrame::Stderr(bytes) => println!("{} bytes", bytes.len()),
//!         ExecFrame::Exit(code) => println!("exit {code}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod checkpoint;
mod client;
mod connection;
mod error;
mod exec;
mod files;
mod frame;
#[cfg(test)]
mod frame_law;
pub mod host;
mod policy;
mod pool;
pub(crate) mod retry;
mod signal;
mod wire;
mod wire_files;
mod wire_ports;
mod wire_services;
mod wire_sprites;

use pool::Way;
use reqwest::{Method, Url};
use retry::Twice;

pub use checkpoint::Checkpoint;
pub use client::Sprites;
pub use error::SpriteError;
pub use exec::{Disconnected, Exec, ExecFrame, ExecInput, ExecOutput, ExecRequest};
pub use files::{HOME, MAX_READ_BYTES};
pub use signal::Signal;
pub use wire::{KillEvent, SessionInfo};
pub use wire_files::{FileEntry, FileErrorKind};
pub use wire_sprites::{SpriteConfig, SpriteInfo, UrlSettings};

/// A handle to one sprite of a host; its name is all it holds, so it stays valid across restarts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sprite {
    sprites: Sprites,
    name: String,
}

impl Sprite {
    fn new(sprites: Sprites, name: String) -> Self {
        Self { sprites, name }
    }

    /// The sprite's name on its host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a command. Returns once the host has named the session, before any output is read.
    pub async fn exec(&self, request: ExecRequest) -> Result<Exec, SpriteError> {
        let mut url = self.url(&["exec"]);
        request.write_query(&mut url);
        connection::open(&self.sprites, url, Twice::Differs, || {
            format!("sprite {}", self.name)
        })
        .await
    }

    /// Starts a short command that reads nothing and goes with its connection, over a connection that is kept open for the
    /// next one where the host has such. Nobody can attach to it: it has no session id. What can't be brief is started as by
    /// [`Sprite::exec`].
    pub async fn brief(&self, request: ExecRequest) -> Result<Exec, SpriteError> {
        let pool = self.sprites.pool();
        if !request.is_brief() {
            return self.exec(request).await;
        }
        match pool.exec(&self.sprites, &self.name, &request).await? {
            Way::Started(exec) => Ok(exec),
            Way::Plain => self.exec(request).await,
            Way::Refused => {
                let exec = self.exec(request).await?;
                pool.is_without();
                Ok(exec)
            }
        }
    }

    /// Attaches to a session that runs, or ended a short while ago. The host replays what it kept of the output, then
    /// goes on live; an ended session replays up to its exit. A session it no longer knows is [`SpriteError::Gone`].
    pub async fn attach(&self, session_id: &str) -> Result<Exec, SpriteError> {
        let mut url = self.url(&["exec", session_id]);
        url.query_pairs_mut().append_pair("stdin", "true");
        connection::open(&self.sprites, url, Twice::IsOnce, || {
            format!("session {session_id} of sprite {}", self.name)
        })
        .await
    }

    /// The exec sessions the host knows for this sprite.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, SpriteError> {
        let request = self.sprites.request(Method::GET, self.url(&["exec"]));
        let response = self
            .sprites
            .send(request, || format!("sprite {}", self.name))
            .await?;
        Ok(answer::json::<wire::SessionList>(response).await?.sessions)
    }

    /// Sends a signal to a session and waits until it ended; a session that does not end by itself is killed by the host
    /// after its timeout. Returns what the host reported on the way.
    pub async fn kill(&self, session_id: &str, signal: Signal) -> Result<Vec<KillEvent>, SpriteError> {
        let mut url = self.url(&["exec", session_id, "kill"]);
        url.query_pairs_mut().append_pair("signal", signal.as_str());
        let what = || format!("session {session_id} of sprite {}", self.name);
        let response = self
            .sprites
            .send(self.sprites.request(Method::POST, url), what)
            .await?;
        let body = answer::limited(response, 1 << 20, what).await?;
        let lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty());
        lines
            .map(|line| serde_json::from_slice(line).map_err(SpriteError::protocol))
            .collect()
    }

    fn sprites(&self) -> &Sprites {
        &self.sprites
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut all = vec![self.name.as_str()];
        all.extend(segments);
        self.sprites.url(&all)
    }
}
