//! One sprite of this host.
//!
//! Invariant: nothing starts in a sprite while somebody holds it [`still`](LocalSprite::still), so that a restart or a
//! restore finds it as it left it.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustix::process::Pid;
use tokio::{
    net::TcpStream,
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard},
};

use super::{
    HostConfig, Limits,
    activity::{Activity, Bustle},
    address::Address,
    cgroup::Groups,
    checkpoint::Checkpoints,
    error::ApiError,
    init::wire::ListeningPort,
    output::Reader,
    ports::Ports,
    process::Command,
    record::{Record, Settings, Written},
    resolve::Root,
    sandbox::Frozen,
    service::Services,
    session::{Client, Session, Terms},
    sessions::Sessions,
    waker::Waker,
};
use crate::sprite::wire_sprites::{SpriteInfo, StateEvent};

/// Who owns the sprites of a host that knows one token and no organizations.
pub(super) const ORGANIZATION: &str = "roost";

/// What a sprite is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has no processes and no memory.
    Cold,
    /// It is awake and nobody needs it.
    Warm,
    /// A command or a service runs, or somebody is connected to one of its ports.
    Running,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Running => "running",
        }
    }
}

/// Who sees to it that a sprite's processes together stay within their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The kernel, for their cgroup.
    Kernel,
    /// The host, which looks at them.
    Host,
}

/// One sprite: its record, its file system, its sessions.
#[derive(Debug)]
pub(super) struct LocalSprite {
    pub(super) record: Record,
    settings: Arc<RwLock<Settings>>,
    pub(super) root: Root,
    pub(super) sessions: Sessions,
    pub(super) checkpoints: Checkpoints,
    pub(super) services: Services,
    limits: Limits,
    pub(super) activity: Arc<Activity>,
    waker: Waker,
    pub(super) port_watch: Ports,
    /// Read by whoever starts something, written by whoever needs nothing to start.
    gate: Arc<tokio::sync::RwLock<()>>,
}

impl LocalSprite {
    /// A sprite whose file system is at `path`.
    pub(super) fn new(
        written: Written,
        path: PathBuf,
        config: &Arc<HostConfig>,
        bustle: &Arc<Bustle>,
        groups: &Arc<Groups>,
    ) -> Self {
        let record = written.record;
        let activity = Activity::new(&record.name, bustle);
        let settings = Arc::new(RwLock::new(written.settings));
        let waker = Waker::new(
            Arc::clone(config),
            Arc::clone(groups),
            &record,
            path.clone(),
            Arc::clone(&settings),
            Arc::clone(&activity),
        );
        let home = path.parent().unwrap_or(&path).to_owned();
        let root = Root::new(path, config.isolation.view());
        Self {
            checkpoints: Checkpoints::new(home.clone()),
            services: Services::new(home, root.clone(), config.limits.service_log_bytes),
            root,
            limits: config.limits.clone(),
            activity,
            waker,
            record,
            settings,
            sessions: Sessions::default(),
            port_watch: Ports::default(),
            gate: Arc::default(),
        }
    }

    /// What an update may change, as it is now.
    pub(super) fn settings(&self) -> Settings {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes settings over that are written down already.
    pub(super) fn set(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// To be held while something is started in it.
    pub(super) async fn open(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.gate).read_owned().await
    }

    /// Waits for what is being started; nothing starts until the guard is dropped.
    pub(super) async fn still(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// Starts a command, waking the sprite. To be run to its end, as [`Sessions::start`] says.
    pub(super) async fn start(
        &self,
        command: Command,
        terms: Terms,
    ) -> Result<(Arc<Session>, Reader, Client), ApiError> {
        let _open = self.open().await;
        self.sessions.check_open()?;
        let busy = self.activity.begin()?;
        let sandbox = self.waker.wake().await?;
        self.sessions
            .start(&sandbox, command, terms, &self.limits, busy)
            .await
    }

    /// Whether its processes are walled in.
    pub(super) fn is_walled(&self) -> bool {
        self.root.is_walled()
    }

    /// Connects to an address inside, waking the sprite. Whoever is connected holds a [`Busy`](super::activity::Busy).
    pub(super) async fn connect(&self, address: SocketAddr) -> Result<io::Result<TcpStream>, ApiError> {
        self.sessions.check_open()?;
        let sandbox = self.waker.wake().await?;
        Ok(sandbox.connect(address).await)
    }

    /// The TCP ports that listen inside, lowest first; none while it is cold.
    pub(super) async fn ports(&self) -> io::Result<Vec<ListeningPort>> {
        match self.waker.awake().await {
            Some(sandbox) => sandbox.ports().await,
            None => Ok(Vec::new()),
        }
    }

    /// Stops every process in it until the answer is dropped; `None` while it is cold. Nothing starts in the meantime if
    /// the caller holds it [`still`](Self::still).
    pub(super) async fn freeze(&self) -> io::Result<Option<Frozen>> {
        match self.waker.awake().await {
            Some(sandbox) => sandbox.freeze().await.map(Some),
            None => Ok(None),
        }
    }

    /// The process that holds its processes, while it is awake; and who keeps those to their memory.
    pub(super) async fn init(&self) -> Option<(Pid, Keeper)> {
        let sandbox = self.waker.awake().await?;
        let keeper = if sandbox.is_memory_bound() {
            Keeper::Kernel
        } else {
            Keeper::Host
        };
        Some((sandbox.pid()?, keeper))
    }

    /// Bytes of memory its processes may hold together.
    pub(super) fn memory_share(&self) -> u64 {
        self.settings().policies.memory_bytes(&self.limits)
    }

    /// Bytes its files may take.
    pub(super) fn disk_share(&self) -> u64 {
        self.limits.disk_bytes
    }

    /// Goes cold if nobody has needed its processes for `idle`.
    pub(super) async fn doze(&self, idle: Duration) {
        self.waker.doze(idle).await;
    }

    /// Ends every process in it. The next request wakes it again.
    pub(super) async fn end(&self) {
        self.waker.end().await;
    }

    /// What it is doing.
    pub(super) fn state(&self) -> State {
        if self.activity.times().is_running() {
            State::Running
        } else if self.is_awake() {
            State::Warm
        } else {
            State::Cold
        }
    }

    /// Whether it has processes, even if nobody needs them: it ran something since the host, or the sprite, was started.
    fn is_awake(&self) -> bool {
        self.activity.times().awake
    }

    /// The sprite as the API describes it. `address`: where the host is.
    pub(super) fn info(&self, address: &Address) -> SpriteInfo {
        let (settings, times) = (self.settings(), self.activity.times());
        SpriteInfo {
            id: self.record.id.clone(),
            name: self.record.name.clone(),
            organization: ORGANIZATION.into(),
            status: self.state().as_str().into(),
            url: Some(address.of_sprite(&self.record.name)),
            url_settings: Some(settings.url_settings),
            config: self.record.config.clone(),
            environment: self.record.environment.clone(),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            created_at: Some(self.record.created_at.clone()),
            updated_at: Some(settings.updated_at).filter(|at| !at.is_empty()),
            last_running_at: times.running.map(|at| at.to_string()),
            last_warming_at: times.warming.map(|at| at.to_string()),
            labels: settings.labels,
        }
    }

    /// Its state as the stream of states tells it, without the counts.
    pub(super) fn event(&self) -> StateEvent {
        let times = self.activity.times();
        StateEvent {
            name: Some(self.record.name.clone()),
            status: Some(self.state().as_str().into()),
            running_version: Some(env!("CARGO_PKG_VERSION").into()),
            last_running_at: times.running.map(|at| at.to_string()),
            last_warming_at: times.warming.map(|at| at.to_string()),
            timestamp: jiff::Timestamp::now().to_string(),
            ..StateEvent::default()
        }
    }
}
