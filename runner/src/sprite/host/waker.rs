//! Waking a sprite, and letting it go cold.
//!
//! Invariant: at most one init runs for a sprite. Whoever wants something of its processes wakes it; when nobody has needed
//! it for a while it goes cold, and whatever still runs in it ends.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, MutexGuard};

use super::{HostConfig, activity::Activity, error::ApiError, sandbox::Sandbox};

/// Holds a sprite's init while there is one.
#[derive(Debug)]
pub(super) struct Waker {
    config: Arc<HostConfig>,
    name: String,
    user: Option<u32>,
    root: PathBuf,
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
    /// For the sprite `name` with the files in `root`, which runs as `user` outside.
    pub(super) fn new(
        config: Arc<HostConfig>,
        name: &str,
        user: Option<u32>,
        root: PathBuf,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            config,
            name: name.to_owned(),
            user,
            root,
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
        let orders = self.config.isolation.orders(&self.config, &self.name, self.user);
        let started = Sandbox::start(&self.config.init, &self.root, &orders).await;
        let started = started.map_err(|error| ApiError::internal("the sprite did not wake", &error))?;
        let started = Arc::new(started);
        state.sandbox = Some(Arc::clone(&started));
        Ok(started)
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
