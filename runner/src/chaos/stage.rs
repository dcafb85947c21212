//! The stage: real processes of this program and what stands in for the world around them, tied together by links.
//!
//! Invariant: everything lies in one throw-away directory and on loopback ports of its own; nothing of a running
//! installation is read, and no variable of the caller's environment reaches a part.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use base64::Engine;
use roost_shared::fail_point;
use tokio::{process::Command, sync::Mutex};

use super::{
    Chaos,
    api::{self, Api},
    link::Link,
    part::{Part, Program, Ready},
    points,
    script::{self, Calls},
};
use crate::{
    all_in_one::keys::{self, Holder, Use},
    cli::Failure,
    config::{Config, Secret},
    random,
    sprite::{Sprites, host::Isolation},
    standin::{
        free_port,
        github::{GithubConfig, GithubServer},
        model::ModelServer,
        telegram::TelegramServer,
    },
};

/// How long the model takes for each token: long enough that processes die in the middle of an answer.
const TOKEN: Duration = Duration::from_millis(8);
/// The variable that names the runs' database.
const DATABASE: &str = "ROOST_DATABASE_URL";
/// Runners at work.
const RUNNERS: usize = 3;

/// A database server that is no part of this program.
#[derive(Debug, Clone)]
pub struct DatabaseServer {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; `{port}` and `{directory}` are filled in.
    pub arguments: Vec<String>,
}

/// A part, for whoever needs it next.
pub type Shared = Arc<Mutex<Part>>;

/// All of it.
pub struct Stage {
    /// The edges; more than one where the database is a server.
    pub edges: Vec<Shared>,
    /// The runners.
    pub runners: Vec<Shared>,
    /// The sprite host.
    pub host: Shared,
    /// The database server, where there is one.
    pub database: Option<Shared>,
    /// The links between parts.
    pub links: Vec<Arc<Link>>,
    /// Where webhooks are sent, one per edge.
    pub doors: Vec<String>,
    /// GitHub.
    pub github: GithubServer,
    /// Telegram.
    pub telegram: TelegramServer,
    /// Every time the model was asked.
    pub calls: Calls,
    /// The public API, past all links.
    pub api: Api,
    /// The sprites, past all links.
    pub sprites: Sprites,
    /// HTTP for the senders.
    pub http: reqwest::Client,
    /// The model; it answers as long as this is kept.
    _model: ModelServer,
}

/// Where everything is, before anything is started.
struct Plan<'a> {
    chaos: &'a Chaos,
    config: PathBuf,
    logs: PathBuf,
    master: String,
    sprites_token: String,
}

impl Stage {
    /// Starts everything and sets it up.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn set(chaos: &Chaos) -> Result<Self, Failure> {
        let stand_in = |error: std::io::Error| Failure::listen("a port of 127.0.0.1", &error);
        let github = GithubServer::start(GithubConfig {
            token: Some(api::GITHUB_TOKEN.into()),
            ..GithubConfig::default()
        });
        let github = github.await.map_err(stand_in)?;
        let telegram = TelegramServer::start(api::BOT_TOKEN).await.map_err(stand_in)?;
        let calls = Calls::default();
        let model = ModelServer::start(script::script(calls.clone()))
            .await
            .map_err(stand_in)?;
        model.set_pace(TOKEN);
        let plan = Plan::write(chaos, &model)?;

        let mut links = Vec::new();
        let (database, address) = plan.database(&mut links).await?;
        plan.migrate(&address.direct).await?;
        let mut edges = Vec::new();
        let mut ports = Vec::new();
        for number in 0..if database.is_some() { 2 } else { 1 } {
            let (port, part) = plan.edge(number, &address.linked)?;
            edges.push(part);
            ports.push(port);
        }
        let (host_port, host) = plan.host()?;
        for part in edges.iter().chain([&host]) {
            part.lock().await.start().await?;
        }
        let sprites_link = link(&mut links, "runner-sprites", host_port).await?;
        let master = plan.master_key()?;
        let mut runners = Vec::new();
        for number in 0..RUNNERS {
            let port = ports.get(number % ports.len()).copied().unwrap_or_default();
            let edge = link(&mut links, "runner-edge", port).await?;
            let token = mint(&master, Use::Runner, &format!("runner-{number}"))?;
            let part = plan.runner(number, &edge, token, &sprites_link);
            part.lock().await.start().await?;
            runners.push(part);
        }
        let mut doors = Vec::new();
        for port in &ports {
            doors.push(link(&mut links, "sender-edge", *port).await?);
        }
        let github_link = link(&mut links, "edge-channel", github.address().port()).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Failure::failed("no_http_client", error))?;
        let direct = format!("http://127.0.0.1:{}", ports.first().copied().unwrap_or_default());
        let api = Api::new(http.clone(), &direct, mint(&master, Use::Api, "chaos")?);
        api.set_up(&github_link, &telegram.url()).await?;
        let sprites = Sprites::new(&format!("http://127.0.0.1:{host_port}"), &plan.sprites_token)
            .map_err(|error| Failure::failed("chaos_part", error))?;
        Ok(Self {
            edges,
            runners,
            host,
            database,
            links,
            doors,
            github,
            telegram,
            calls,
            api,
            sprites,
            http,
            _model: model,
        })
    }

    /// Every part.
    pub fn parts(&self) -> impl Iterator<Item = &Shared> {
        let rest = [&self.host].into_iter().chain(&self.database);
        self.edges.iter().chain(&self.runners).chain(rest)
    }

    /// Lets everything go on that was stopped, held or is down.
    ///
    /// # Errors
    /// When a part does not start any more.
    pub async fn heal(&self) -> Result<(), Failure> {
        for link in &self.links {
            link.let_go();
        }
        // The database first: the others wait for it.
        for part in self.database.iter().chain(self.parts()) {
            let mut part = part.lock().await;
            part.go_on();
            part.start().await?;
        }
        Ok(())
    }
}

/// How a database is reached.
struct Address {
    /// Past all links.
    direct: String,
    /// As the edges reach it.
    linked: String,
}

impl<'a> Plan<'a> {
    fn write(chaos: &'a Chaos, model: &ModelServer) -> Result<Self, Failure> {
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

    fn master_key(&self) -> Result<Config, Failure> {
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
    async fn database(&self, links: &mut Vec<Arc<Link>>) -> Result<(Option<Shared>, Address), Failure> {
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

    async fn migrate(&self, database: &str) -> Result<(), Failure> {
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

    fn edge(&self, number: usize, database: &str) -> Result<(u16, Shared), Failure> {
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

    fn host(&self) -> Result<(u16, Shared), Failure> {
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
    fn runner(&self, number: usize, edge: &str, token: String, sprites: &str) -> Shared {
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

fn mint(config: &Config, purpose: Use, name: &str) -> Result<String, Failure> {
    let master = keys::master_key(config, None::<&Path>)?;
    let holder = Holder {
        workspace: keys::WORKSPACE,
        name,
    };
    Ok(keys::token(&master, purpose, holder, 2)?.token)
}

async fn link(links: &mut Vec<Arc<Link>>, name: &'static str, port: u16) -> Result<String, Failure> {
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
