//! The plan: how each part is started, and where it finds the others.
//!
//! Invariant: everything lies in one throw-away directory and on loopback ports of its own; nothing of a running
//! installation is read, and no variable of the caller's environment reaches a part.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use base64::Engine;
use roost_shared::fail_point;
use tokio::{process::Command, sync::Mutex};

use super::{
    Chaos,
    link::Link,
    part::{Part, Program, Ready, Shared},
    points,
};
use crate::{
    all_in_one::keys::{self, Holder, Use},
    cli::Failure,
    config::{Config, Secret},
    random,
    sprite::host::Isolation,
    standin::{free_port, model::ModelServer},
};

/// The variable that names the runs' database.
const DATABASE: &str = "ROOST_DATABASE_URL";
/// Runners at work.
pub(super) const RUNNERS: usize = 3;

/// A database server that is no part of this program.
#[derive(Debug, Clone)]
pub struct DatabaseServer {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; `{port}` and `{directory}` are filled in.
    pub arguments: Vec<String>,
}

/// Where everything is, before anything is started.
pub(super) struct Plan<'a> {
    chaos: &'a Chaos,
    config: PathBuf,
    logs: PathBuf,
    master: String,
    pub(super) sprites_token: String,
}

/// How a database is reached.
pub(super) struct Address {
    /// Past all links.
    pub(super) direct: String,
    /// As the edges reach it.
    pub(super) linked: String,
}

impl<'a> Plan<'a> {
    pub(super) fn write(chaos: &'a Chaos, model: &ModelServer) -> Result<Self, Failure> {
        let unusable = |error: std::io::Error| {
            let message = format!("{} can't be written: {error}", chaos.directory.display());
            Failure::failed("chaos_directory", message)
        };
        let logs = chaos.directory.join("logs");
        fs::create_dir_all(&logs).map_err(unusable)?;
        let isolation = match chaos.isolation {
            Isolation::Required => "required",
            Isolation::None => "none",
        };
        let text = format!(
            "[edge]\nprivate_addresses = \"allowed\"\nlease_s = {}\nsend_within_s = {}\n\n[runner]\nslots = 16\ntick_ms = 300\ngrace_s = 2\n\n\
             [sprites]\nisolation = \"{isolation}\"\n\n\
             [models.providers.scripted]\napi = \"anthropic\"\nbase_url = {:?}\nkey = \"scripted\"\n",
            chaos.lease.as_secs().max(1),
            chaos.send_within.as_secs().max(1),
            model.url()
        );
        let config = chaos.directory.join("roost.toml");
        fs::write(&config, text).map_err(unusable)?;
        Ok(Self {
            chaos,
            config,
            logs,
            master: base64::engine::general_purpose::STANDARD.encode(random::bytes::<32>()),
            sprites_token: random::hex_id(),
        })
    }

    pub(super) fn master_key(&self) -> Result<Config, Failure> {
        let mut config = Config::default();
        config.edge.master_key = Some(Secret::from(self.master.clone()));
        Ok(config)
    }

    fn part(&self, program: Program) -> Shared {
        Arc::new(Mutex::new(Part::new(program, &self.logs)))
    }

    fn roost(&self, name: String, arguments: &[&str], variables: &[(&str, &str)]) -> Shared {
        let config = self.config.display().to_string();
        let own = |text: &&str| (*text).to_owned();
        let points = points::directory(self.chaos).display().to_string();
        self.part(Program {
            name,
            file: self.chaos.program.clone(),
            arguments: arguments.iter().chain(&["--config", &config]).map(own).collect(),
            variables: variables
                .iter()
                .chain(&[(fail_point::DIRECTORY, points.as_str())])
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
            ready: Ready::Line,
        })
    }

    /// The database, started where it is a server.
    pub(super) async fn database(
        &self,
        links: &mut Vec<Arc<Link>>,
    ) -> Result<(Option<Shared>, Address), Failure> {
        let Some(server) = &self.chaos.database else {
            let file = self.chaos.directory.join("roost.db").display().to_string();
            let address = Address {
                direct: file.clone(),
                linked: file,
            };
            return Ok((None, address));
        };
        let port = port()?;
        let directory = self.chaos.directory.join("database").display().to_string();
        let fill = |text: &String| {
            text.replace("{port}", &port.to_string())
                .replace("{directory}", &directory)
        };
        let part = self.part(Program {
            name: "database".into(),
            file: server.program.clone(),
            arguments: server.arguments.iter().map(fill).collect(),
            variables: Vec::new(),
            ready: Ready::Port(port),
        });
        part.lock().await.start().await?;
        let address = Address {
            direct: format!("http://127.0.0.1:{port}"),
            linked: link(links, "edge-database", port).await?,
        };
        Ok((Some(part), address))
    }

    pub(super) async fn migrate(&self, database: &str) -> Result<(), Failure> {
        let mut command = Command::new(&self.chaos.program);
        command
            .args(["migrate", "--database", database, "--config"])
            .arg(&self.config);
        let ended = command.stdout(Stdio::null()).env_clear().output().await;
        match ended {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(Failure::failed(
                "chaos_part",
                String::from_utf8_lossy(&output.stderr).trim(),
            )),
            Err(error) => Err(Failure::failed("chaos_part", error)),
        }
    }

    pub(super) fn edge(&self, number: usize, database: &str) -> Result<(u16, Shared), Failure> {
        let port = port()?;
        let listen = format!("127.0.0.1:{port}");
        let part = self.roost(
            format!("edge-{number}"),
            &["edge", "--listen", &listen],
            &[
                (DATABASE, database),
                ("ROOST_MASTER_KEY", &self.master),
                ("ROOST_PUBLIC_URL", "http://127.0.0.1"),
            ],
        );
        Ok((port, part))
    }

    pub(super) fn host(&self) -> Result<(u16, Shared), Failure> {
        let port = port()?;
        let listen = format!("127.0.0.1:{port}");
        let data = self.chaos.directory.join("sprites").display().to_string();
        let part = self.roost(
            "sprites".into(),
            &["sprites", "--listen", &listen, "--data", &data],
            &[("ROOST_SPRITES_TOKEN", &self.sprites_token)],
        );
        Ok((port, part))
    }

    /// A runner. The first keeps its name over all its starts, as one under a supervisor does; the others never use one
    /// twice. The last has a doorbell.
    pub(super) fn runner(&self, number: usize, edge: &str, token: String, sprites: &str) -> Shared {
        let name = match number {
            0 => "runner-0".to_owned(),
            _ => format!("runner-{number}-{{start}}"),
        };
        let mut arguments = vec!["runner", "--edge", edge, "--name", &name];
        if number + 1 == RUNNERS {
            arguments.extend(["--doorbell-listen", "127.0.0.1:0"]);
        }
        self.roost(
            format!("runner-{number}"),
            &arguments,
            &[
                ("ROOST_RUNNER_TOKEN", &token),
                ("ROOST_SPRITES_URL", sprites),
                ("ROOST_SPRITES_TOKEN", &self.sprites_token),
            ],
        )
    }
}

pub(super) fn mint(config: &Config, purpose: Use, name: &str) -> Result<String, Failure> {
    let master = keys::master_key(config, None::<&Path>)?;
    let holder = Holder {
        workspace: keys::WORKSPACE,
        name,
    };
    Ok(keys::token(&master, purpose, holder, 2)?.token)
}

pub(super) async fn link(
    links: &mut Vec<Arc<Link>>,
    name: &'static str,
    port: u16,
) -> Result<String, Failure> {
    let target: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let link = Link::to(name, target)
        .await
        .map_err(|error| Failure::listen("a port of 127.0.0.1", &error))?;
    let url = link.url();
    links.push(Arc::new(link));
    Ok(url)
}

/// Parts come back on the port they had.
fn port() -> Result<u16, Failure> {
    free_port().map_err(|error| Failure::listen("a port of 127.0.0.1", &error))
}
