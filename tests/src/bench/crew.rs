//! A runner as a process of its own, with a model and a sprite host of the benchmark's.

use std::{path::Path, time::Duration};

use roost_edge::auth::token::Audience;
use roost_runner::sprite::host::{self, HostConfig};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{RoostProcess, office::Office};

/// The runner, and the sprite host that it would use.
pub(super) struct Crew {
    runner: RoostProcess,
    sprites: JoinHandle<()>,
    _folder: TempDir,
}

impl Crew {
    /// Starts it under `name` for the edge at `address`, `127.0.0.1:PORT`, with room for `slots` runs, and waits until it
    /// works.
    pub(super) async fn start(name: &str, slots: u32, address: &str, office: &Office, model: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let (sprites, url) = sprite_host(folder.path()).await;
        let settings = folder.path().join("roost.toml");
        let models = format!(
            "[models.providers.scripted]\napi = \"anthropic\"\nbase_url = {model:?}\nkey = \"a key\"\n"
        );
        std::fs::write(&settings, models).expect("written");
        let token = office.token(Audience::Runner, name, Duration::from_secs(3600));
        let (edge, settings) = (format!("http://{address}"), settings.display().to_string());
        let slots = slots.to_string();
        let arguments = [
            "runner", "--edge", &edge, "--name", name, "--slots", &slots, "--config", &settings,
        ];
        let variables = [
            ("ROOST_RUNNER_TOKEN", token.as_str()),
            ("ROOST_SPRITES_URL", &url),
            ("ROOST_SPRITES_TOKEN", "bench"),
        ];
        let mut runner = RoostProcess::start(&arguments, &variables);
        runner
            .line(|line| line.contains(" works for ").then_some(()))
            .await;
        Self {
            runner,
            sprites,
            _folder: folder,
        }
    }

    /// The runner's process id.
    pub(super) fn process_id(&mut self) -> u32 {
        self.runner.process().id()
    }

    /// Ends the runner as a power cut would.
    pub(super) fn kill(&mut self) {
        self.runner.process().kill();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.sprites.abort();
    }
}

async fn sprite_host(folder: &Path) -> (JoinHandle<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let config = HostConfig::new(folder.join("sprites"), "bench", crate::roost::binary());
    let serving = tokio::spawn(async move {
        host::serve(listener, config, std::future::pending())
            .await
            .expect("the sprite host serves");
    });
    (serving, url)
}
