//! Our own server of the Sprites API, for one machine.
//!
//! Invariant: what the API promises about files and sessions holds here, and every process of a sprite runs behind the walls
//! that [`Level`] names, unless the host was told to do without; then it says so when it starts.
//!
//! # Where things are
//! Under the data directory each sprite has `sprites/NAME/sprite.json` and `sprites/NAME/root`, its file system.
//!
//! # Paths
//! Commands see their root as `/` and start in the home, `/home/sprite`. Without walls there is no mount namespace, so a
//! command sees its root under its real name, `DATA/sprites/NAME/root`. The file API, and the `dir` of an exec, then take both
//! spellings of an absolute path: the one a command sees (`DATA/sprites/NAME/root/home/sprite/x`) and the one that is true on
//! every sprite host (`/home/sprite/x`). Relative paths resolve in `workingDir`, and without it in the home. The file API
//! answers with the spelling that commands see. Nothing resolves to a place outside.
//!
//! # Waking
//! A sprite at rest is a directory and a line in a table. The first request that needs a process starts its [`init`], which
//! takes some milliseconds; when nothing ran in it for a while, the init ends and the memory is free again.

mod activity;
mod address;
mod auth;
mod cgroup;
mod checkpoint;
mod connection;
mod control;
mod descent;
mod egress;
mod error;
mod exec;
mod files;
mod heir;
mod http_exec;
pub mod init;
mod isolation;
mod kill;
mod limits;
mod link;
mod local;
mod ndjson;
mod output;
mod place;
mod policy;
mod ports;
mod process;
mod pump;
mod rate;
mod record;
mod request;
mod resolve;
#[cfg(test)]
mod resolve_law;
mod sandbox;
mod service;
mod session;
mod sessions;
mod sprites;
mod states;
mod store;
mod syscalls;
mod tree;
mod tunnel;
mod urls;
mod usage;
mod waker;
mod warden;

use std::{
    collections::BTreeMap,
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    Router, middleware,
    routing::{delete, get, post, put},
    serve::ListenerExt,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use address::Address;
use error::ApiError;
pub use error::HostError;
pub use isolation::{Isolation, Level, probe};
pub use limits::Limits;
use store::Store;

/// Files the host may have open; what systemd gives a service at most.
const OPEN_FILES: u64 = 524_288;

/// How long requests may take to finish once the host is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a sprite in which nothing runs stays awake, as a rule.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// Where commands look for programs unless their request replaces the environment.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a host is set up.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Where sprites live; created if missing. One host at a time owns it.
    pub data_dir: PathBuf,
    /// The bearer token every request must carry.
    pub token: String,
    /// `PATH` of commands, after `~/.local/bin`.
    pub path: String,
    /// How others reach the host, `https://sprites.example.org`; sprites answer under names before that. Without it they
    /// answer under `NAME.localhost` and the host's port.
    pub url: Option<String>,
    /// Bounds on everything a client can ask for.
    pub limits: Limits,
    /// The program whose [`init::main`] becomes the first process of an awake sprite: this very binary, as a rule.
    pub init: PathBuf,
    /// Whether commands may run without walls.
    pub isolation: Isolation,
    /// Directories and files of the host that every sprite sees, read-only, besides the host's programs. Absolute paths.
    pub shared: Vec<String>,
    /// Names by which sprites reach an address on the host's own network, which is closed to them otherwise.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// How long a sprite in which nothing runs stays awake.
    pub idle_after: Duration,
}

impl HostConfig {
    /// A host in `data_dir` with the usual limits, whose sprites are walled in by `init`.
    pub fn new(data_dir: impl Into<PathBuf>, token: impl Into<String>, init: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            token: token.into(),
            path: DEFAULT_PATH.into(),
            url: None,
            limits: Limits::default(),
            init: init.into(),
            isolation: Isolation::Required,
            shared: Vec::new(),
            hosts: BTreeMap::new(),
            idle_after: IDLE_AFTER,
        }
    }
}

/// A sprite host: its sprites, and the processes in them. Cheap to clone.
///
/// Call [`Host::shutdown`] before the process ends, or let [`serve`] do it, so that clients hear how their commands ended. The
/// commands end with the host in any case.
#[derive(Debug, Clone)]
pub struct Host {
    store: Arc<Store>,
    address: Arc<Address>,
    /// Turns true when the host shuts down, to end the connections of sessions.
    closing: watch::Sender<bool>,
    /// One for each client that may still begin to watch files.
    watches: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Host {
    /// Opens the data directory, tries the walls, and says what isolation it gives. `listening`: where it will be served.
    pub async fn open(config: HostConfig, listening: SocketAddr) -> Result<Self, HostError> {
        raise_open_files();
        let address = match &config.url {
            Some(url) => Address::parse(url)?,
            None => Address::local(listening),
        };
        let data_dir = config.data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(config)).await;
        let store = opened.map_err(|error| HostError::Storage {
            path: data_dir,
            source: io::Error::other(error),
        })??;
        let level = isolation::try_walls(store.config(), store.dir(), store.groups()).await?;
        if level.isolated {
            tracing::info!(data_dir = %store.dir().display(), "{}", level.summary);
        } else {
            tracing::warn!(data_dir = %store.dir().display(), "{}", level.summary);
        }
        let watches = Arc::new(Semaphore::new(store.config().limits.watches));
        let connections = Arc::new(Semaphore::new(store.config().limits.connections));
        let store = Arc::new(store);
        for sprite in store.all() {
            service::resume(&sprite, &store.shared_config()).await;
        }
        tokio::spawn(put_to_rest(Arc::downgrade(&store)));
        tokio::spawn(warden::watch(Arc::downgrade(&store)));
        Ok(Self {
            store,
            address: Arc::new(address),
            watches,
            connections,
            closing: watch::Sender::new(false),
        })
    }

    /// The API, under `/v1`, of which every route asks for the bearer token; and the sprites' own addresses.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/sprites", get(sprites::list).post(sprites::create))
            .route(
                "/v1/sprites/{name}",
                get(sprites::show).put(sprites::update).delete(sprites::remove),
            )
            .route("/v1/sprites/{name}/check", get(sprites::check))
            .route("/v1/sprites/{name}/restart", post(sprites::restart))
            .route("/v1/sprites/{name}/upgrade", post(sprites::upgrade))
            .route(
                "/v1/sprites/{name}/exec",
                get(exec::start_or_list).post(http_exec::run),
            )
            .route("/v1/sprites/{name}/exec/{session}", get(exec::attach))
            .route("/v1/sprites/{name}/exec/{session}/kill", post(kill::kill))
            .route("/v1/sprites/{name}/control", get(control::control))
            .route("/v1/sprites/{name}/proxy", get(tunnel::proxy))
            .route("/v1/sprites/{name}/ports/watch", get(tunnel::watch))
            .route("/v1/sprites/{name}/fs/read", get(files::read))
            .route("/v1/sprites/{name}/fs/write", put(files::write))
            .route("/v1/sprites/{name}/fs/list", get(files::list))
            .route("/v1/sprites/{name}/fs/delete", delete(files::delete))
            .route("/v1/sprites/{name}/fs/rename", post(files::rename))
            .route("/v1/sprites/{name}/fs/copy", post(files::copy))
            .route("/v1/sprites/{name}/fs/chmod", post(files::chmod))
            .route("/v1/sprites/{name}/fs/chown", post(files::chown))
            .route("/v1/sprites/{name}/fs/watch", get(files::watch))
            .route("/v1/sprites/{name}/checkpoint", post(checkpoint::create))
            .route("/v1/sprites/{name}/checkpoints", get(checkpoint::list))
            .route(
                "/v1/sprites/{name}/checkpoints/{id}",
                get(checkpoint::show).delete(checkpoint::remove),
            )
            .route(
                "/v1/sprites/{name}/checkpoints/{id}/restore",
                post(checkpoint::restore),
            )
            .route("/v1/sprites/{name}/services", get(service::list))
            .route("/v1/sprites/{name}/services/signal", post(service::signal))
            .route(
                "/v1/sprites/{name}/services/{service}",
                get(service::show).put(service::define).delete(service::remove),
            )
            .route(
                "/v1/sprites/{name}/services/{service}/start",
                post(service::start),
            )
            .route("/v1/sprites/{name}/services/{service}/stop", post(service::stop))
            .route(
                "/v1/sprites/{name}/services/{service}/restart",
                post(service::restart),
            )
            .route("/v1/sprites/{name}/services/{service}/logs", get(service::logs))
            .route(
                "/v1/sprites/{name}/policy/network",
                get(policy::api::network).post(policy::api::set_network),
            )
            .route(
                "/v1/sprites/{name}/policy/privileges",
                get(policy::api::privileges)
                    .post(policy::api::set_privileges)
                    .delete(policy::api::drop_privileges),
            )
            .route(
                "/v1/sprites/{name}/policy/resources",
                get(policy::api::resources)
                    .post(policy::api::set_resources)
                    .delete(policy::api::drop_resources),
            )
            .fallback(error::no_such_route)
            .method_not_allowed_fallback(error::no_such_method)
            .layer(middleware::map_response(error::speak_json))
            .layer(middleware::from_fn_with_state(self.clone(), auth::require_token))
            // The outermost: what is for a sprite's own address is none of the API's.
            .layer(middleware::from_fn_with_state(self.clone(), urls::route))
            .with_state(self.clone())
    }

    /// A place for one more connection, to be held for as long as it is open.
    fn connection(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let limit = self.store.config().limits.connections;
        Arc::clone(&self.connections).try_acquire_owned().map_err(|_| {
            let message =
                format!("this host has {limit} connections into its sprites already; end some first");
            ApiError::limit("concurrent_connection_limit_exceeded", message, limit)
        })
    }

    /// Refuses new commands, ends the running ones with everything they started, and closes their connections.
    pub async fn shutdown(&self) {
        self.store.close().await;
        self.closing.send_replace(true);
    }
}

/// Every command is a few open files of the host, and the usual limit is enough for a few hundred of them.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files could not be raised: fewer sprites can run at once");
        }
    }
}

/// Lets sprites go cold when they have been idle, for as long as the host lives.
async fn put_to_rest(store: Weak<Store>) {
    loop {
        let Some(idle) = store.upgrade().map(|store| store.config().idle_after) else {
            return;
        };
        tokio::time::sleep(idle / 4).await;
        let sprites = store.upgrade().map(|store| store.all()).unwrap_or_default();
        for sprite in sprites {
            sprite.doze(idle).await;
        }
    }
}

/// Opens a host and serves it until `stop` resolves; then ends all commands and answers what is under way.
pub async fn serve(
    listener: TcpListener,
    config: HostConfig,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), HostError> {
    let listening = listener
        .local_addr()
        .map_err(|source| HostError::Serve { source })?;
    let host = Host::open(config, listening).await?;
    let router = host.router();
    let stopping = host.clone();
    // An exec round trip is many small messages; none of them may wait for a full segment.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let (stopped, mut draining) = watch::channel(false);
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        stopping.shutdown().await;
        stopped.send_replace(true);
    });
    let drained = async {
        // An error means the server ended first, and took the sender with it.
        let _ = draining.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.into_future() => ended.map_err(|source| HostError::Serve { source }),
        () = drained => Ok(()),
    }
}
