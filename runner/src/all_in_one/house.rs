//! Everything in one process on one data directory: edge, database, sprite host and runner.
//!
//! Invariants: one process at a time owns the directory; the runner reaches the edge and the sprites over loopback HTTP.
//! They are shut down in the order in which they need each other: the runner gives its runs back before the edge goes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    future::Future,
    io::{self, Write},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use roost_edge::auth::keys::MasterKey;
use tokio::{net::TcpListener, sync::watch};

use super::{
    database,
    edge::{self, BoundEdge},
    keys::{self, Holder, KEY_FILE, Login, Minted, Use},
    own_program,
};
use crate::{
    cli::Failure,
    config::{Config, Secret},
    node::Node,
    random,
    sprite::host::{self, HostConfig, Isolation},
    tool,
};

const LOCK_FILE: &str = "roost.lock";
/// The runner's token is made anew at every start, so it need not live long; a process may.
const RUNNER_TOKEN_DAYS: u32 = 3650;

/// All of it, ready to run.
pub struct House {
    master: MasterKey,
    edge: BoundEdge,
    sprites: (TcpListener, HostConfig),
    node: Node,
    public_url: String,
    _lock: File,
}

impl House {
    /// What keeps its agents in.
    pub fn isolation(&self) -> Isolation {
        self.sprites.1.isolation
    }

    /// Takes the data directory, makes what is missing in it, and brings the database up to date; call inside a runtime.
    ///
    /// # Errors
    /// When another process has the directory, or a part can't be made.
    pub async fn open(data: &Path, mut config: Config) -> Result<Self, Failure> {
        // What people said to agents lies in here: nobody else's to read.
        let mut directory = fs::DirBuilder::new();
        directory.recursive(true).mode(0o700);
        directory.create(data).map_err(|error| unusable(data, &error))?;
        let mut lock = lock(data)?;
        // Later paths must not depend on the directory the process stands in.
        let data = fs::canonicalize(data).map_err(|error| unusable(data, &error))?;
        let master = match keys::master_key(&config, Some(&data)) {
            Err(failure) if failure.problem.code == keys::NO_MASTER_KEY => new_master_key(&data)?,
            outcome => outcome?,
        };
        if config.edge.database.is_none() {
            let file: PathBuf = data.join(database::FILE);
            config.edge.database = Some(file.to_string_lossy().into_owned());
        }
        let edge = edge::bind(&config, &master).await?;
        lock.set_len(0)
            .and_then(|()| lock.write_all(edge.url().as_bytes()))
            .map_err(|error| unusable(&data, &error))?;
        database::prepare(edge.database()).await?;

        let failed = |error: io::Error| Failure::listen("a port of 127.0.0.1", &error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let sprites = format!("http://{}", listener.local_addr().map_err(failed)?);
        let token = random::hex_id();
        let host = config.sprites.host(&data, &token, own_program()?);
        config.share_sprites(sprites, token);

        let runner = Holder {
            workspace: keys::WORKSPACE,
            name: "up",
        };
        let Minted { token, .. } = keys::token(&master, Use::Runner, runner, RUNNER_TOKEN_DAYS)?;
        config.runner.token = Some(Secret::from(token));
        config.runner.edge = edge.url().to_owned();
        let node = Node::assemble(&config, tool::standard()).await?;
        let public_url = config
            .edge
            .public_url
            .clone()
            .unwrap_or_else(|| edge.url().to_owned());
        Ok(Self {
            master,
            edge,
            sprites: (listener, host),
            node,
            public_url,
            _lock: lock,
        })
    }

    /// How this machine reaches the edge.
    pub fn url(&self) -> &str {
        self.edge.url()
    }

    /// A link by which the owner signs in, once.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn login(&self) -> Result<Login, Failure> {
        let owner = Holder {
            workspace: keys::WORKSPACE,
            name: "owner",
        };
        keys::login(&self.master, &self.public_url, owner)
    }

    /// A token for the public API, good for a day.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn api_token(&self, name: &str) -> Result<Minted, Failure> {
        let holder = Holder {
            workspace: keys::WORKSPACE,
            name,
        };
        keys::token(&self.master, Use::Api, holder, 1)
    }

    /// Runs until `shutdown` completes and everything has ended well, or until a part fails.
    ///
    /// # Errors
    /// The first part's failure; the others have ended by then.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Failure> {
        let (runner_ended, ended) = watch::channel(false);
        let until_runner_ended = || {
            let mut ended = ended.clone();
            async move {
                // An error means that the runner is gone as well.
                let _ = ended.wait_for(|ended| *ended).await;
            }
        };
        let (listener, host) = self.sprites;
        let sprites = async {
            host::serve(listener, host, until_runner_ended())
                .await
                .map_err(|error| Failure::failed(error.code(), error))
        };
        let edge = self.edge.serve(until_runner_ended());
        let (part_failed, mut failed) = watch::channel(false);
        let watched = |part: Result<(), Failure>| {
            if part.is_err() {
                part_failed.send_replace(true);
            }
            part
        };
        let runner = async {
            let stop = async {
                tokio::select! {
                    () = shutdown => {}
                    // The sender lives as long as this function.
                    _ = failed.wait_for(|failed| *failed) => {}
                }
            };
            let outcome = self.node.run(stop).await;
            runner_ended.send_replace(true);
            outcome
        };
        let (runner, edge, sprites) = tokio::join!(runner, async { watched(edge.await) }, async {
            watched(sprites.await)
        });
        edge.and(sprites).and(runner)
    }
}

/// How this machine reaches the edge of the process that has the directory, or had it last.
pub fn address(data: &Path) -> Option<String> {
    let address = fs::read_to_string(data.join(LOCK_FILE)).ok()?;
    (!address.is_empty()).then_some(address)
}

/// Keeps other processes out of the directory for as long as the file is open.
fn lock(data: &Path) -> Result<File, Failure> {
    let path = data.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| unusable(data, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(
            "data_directory_in_use",
            format!(
                "another roost uses {}; stop it first, or choose another directory with --data",
                data.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(unusable(data, &error)),
    }
}

fn unusable(data: &Path, error: &io::Error) -> Failure {
    let message = format!(
        "the data directory {} can't be used: {error}; choose another one with --data",
        data.display()
    );
    Failure::failed("data_directory_unusable", message)
}

/// Makes the directory's master key, readable for its owner only and on disk before anything is sealed with it.
fn new_master_key(data: &Path) -> Result<MasterKey, Failure> {
    let key = MasterKey::from_bytes(random::bytes());
    let write = || -> io::Result<()> {
        let draft = data.join("master.key.new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{}", key.to_text())?;
        file.sync_all()?;
        fs::rename(&draft, data.join(KEY_FILE))?;
        File::open(data)?.sync_all()
    };
    write().map_err(|error| unusable(data, &error))?;
    Ok(key)
}
