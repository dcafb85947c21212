//! Waking a sprite, and letting it go cold.
//!
//! Invariant: at most one init runs for a sprite. Whoever wants something of its processes wakes it; when nobody has needed
//! it for a while it goes cold, and whatever still runs in it ends.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, MutexGuard},
    task::spawn_blocking,
};

use super::{
    HostConfig,
    activity::Activity,
    cgroup::{Amounts, Groups},
    egress,
    error::ApiError,
    policy::Policies,
    record::{Record, Settings},
    sandbox::Sandbox,
};

/// Holds a sprite's init while there is one.
#[derive(Debug)]
pub(super) struct Waker {
    config: Arc<HostConfig>,
    groups: Arc<Groups>,
    name: String,
    user: Option<u32>,
    root: PathBuf,
    settings: Arc<RwLock<Settings>>,
    activity: Arc<Activity>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sandbox: Option<Arc<Sandbox>>,
    /// When somebody last wanted something of its processes.
    wanted: Instant,
}

impl Waker {
    /// For the sprite with that record and the files in `root`.
    pub(super) fn new(
        config: Arc<HostConfig>,
        groups: Arc<Groups>,
        record: &Record,
        root: PathBuf,
        settings: Arc<RwLock<Settings>>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            config,
            groups,
            name: record.name.clone(),
            user: record.user,
            root,
            settings,
            activity,
            state: Mutex::new(State {
                sandbox: None,
                wanted: Instant::now(),
            }),
        }
    }

    /// Its init, started if need be.
    pub(super) async fn wake(&self) -> Result<Arc<Sandbox>, ApiError> {
        let mut state = self.state.lock().await;
        state.wanted = Instant::now();
        if let Some(awake) = state.sandbox.as_ref().filter(|sandbox| !sandbox.ended()) {
            return Ok(Arc::clone(awake));
        }
        let policies = self.policies();
        let orders = self
            .config
            .isolation
            .orders(&self.config, &self.name, self.user, &policies);
        let amounts = Amounts::of(&policies, &self.config.limits);
        let (groups, name) = (Arc::clone(&self.groups), self.name.clone());
        // Whatever went wrong there, the sprite does without.
        let group = spawn_blocking(move || groups.make(&name, amounts))
            .await
            .unwrap_or_default();
        let started = Sandbox::start(&self.config.init, &self.root, orders, group).await;
        let started = started.map_err(|error| ApiError::internal("the sprite did not wake", &error))?;
        let started = Arc::new(started);
        self.open_way_out(&started);
        state.sandbox = Some(Arc::clone(&started));
        Ok(started)
    }

    fn policies(&self) -> Policies {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.policies.clone()
    }

    /// Serves the sprite's proxy for as long as the sprite is awake.
    fn open_way_out(&self, sandbox: &Arc<Sandbox>) {
        let Some(listener) = sandbox.take_proxy() else {
            return;
        };
        let exceptions = Arc::new(self.config.hosts.clone());
        let settings = Arc::clone(&self.settings);
        let policy = move || {
            let settings = settings.read().unwrap_or_else(PoisonError::into_inner);
            settings.policies.network()
        };
        let (gone, name) = (sandbox.gone(), self.name.clone());
        tokio::spawn(async move {
            let served = tokio::select! {
                served = egress::serve(listener, exceptions, policy) => served,
                () = gone => Ok(()),
            };
            if let Err(error) = served {
                tracing::warn!(%error, sprite = name, "the sprite's way out is closed until it wakes again");
            }
        });
    }

    /// Its init if it is awake now.
    pub(super) async fn awake(&self) -> Option<Arc<Sandbox>> {
        let state = self.state.lock().await;
        state.sandbox.as_ref().filter(|sandbox| !sandbox.ended()).cloned()
    }

    /// Goes cold if nobody has needed it for `idle`.
    pub(super) async fn doze(&self, idle: Duration) {
        let mut state = self.state.lock().await;
        if self.activity.times().is_running() {
            state.wanted = Instant::now();
        } else if state.wanted.elapsed() >= idle {
            self.rest(state).await;
        }
    }

    /// Ends every process in it. The next request wakes it again.
    pub(super) async fn end(&self) {
        self.rest(self.state.lock().await).await;
    }

    async fn rest(&self, mut state: MutexGuard<'_, State>) {
        if let Some(awake) = state.sandbox.take() {
            awake.end().await;
            self.activity.rest();
        }
    }
}
