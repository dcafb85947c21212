//! What keeps a sprite running, and the news of it.
//!
//! Invariant: a sprite runs exactly while somebody holds a [`Busy`] of it. At most the limit of the host's sprites run at
//! once; every change of a sprite is announced to whoever watches the host.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::error::ApiError;

/// News a watcher may be behind before it has to look at everything again.
const NEWS: usize = 1_024;

/// All sprites of a host: how many run, and the news of them.
#[derive(Debug)]
pub(super) struct Bustle {
    limit: usize,
    running: AtomicUsize,
    news: broadcast::Sender<Arc<str>>,
}

impl Bustle {
    /// `limit`: sprites that may run at once.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            running: AtomicUsize::new(0),
            news: broadcast::Sender::new(NEWS),
        })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The names of sprites that changed from now on.
    pub(super) fn news(&self) -> broadcast::Receiver<Arc<str>> {
        self.news.subscribe()
    }

    fn enter(&self) -> Result<(), ApiError> {
        let room = |running: usize| (running < self.limit).then_some(running + 1);
        match self
            .running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
        {
            Ok(_) => Ok(()),
            Err(running) => {
                let message = format!("{running} sprites of this host run already; wait until one is done");
                Err(ApiError::limit(
                    "concurrent_sprite_limit_exceeded",
                    message,
                    self.limit,
                ))
            }
        }
    }
}

/// One sprite's comings and goings.
#[derive(Debug)]
pub(super) struct Activity {
    name: Arc<str>,
    bustle: Arc<Bustle>,
    times: Mutex<Times>,
}

/// When a sprite last changed its state. Of this host's life, not of the sprite's: a restart forgets it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    busy: usize,
    /// Whether it ran since it was last put to rest.
    pub(super) awake: bool,
    /// When it last began to run.
    pub(super) running: Option<Timestamp>,
    /// When it last stopped running.
    pub(super) warming: Option<Timestamp>,
}

impl Times {
    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.busy > 0
    }
}

/// Somebody needs the sprite: a command, a service, a connection to one of its ports. It runs until the last is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Activity {
    pub(super) fn new(name: &str, bustle: &Arc<Bustle>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            bustle: Arc::clone(bustle),
            times: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn times(&self) -> Times {
        *self.lock()
    }

    /// Makes it run, or keeps it running; refused while too many others do.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Busy, ApiError> {
        let mut times = self.lock();
        if times.busy == 0 {
            self.bustle.enter()?;
            times.running = Some(Timestamp::now());
        }
        times.busy += 1;
        times.awake = true;
        let first = times.busy == 1;
        drop(times);
        if first {
            self.announce();
        }
        Ok(Busy(Arc::clone(self)))
    }

    /// Its processes are gone; it is cold until somebody needs it again.
    pub(super) fn rest(&self) {
        self.lock().awake = false;
        self.announce();
    }

    /// Tells whoever watches that this sprite is not what it was.
    pub(super) fn announce(&self) {
        // Mostly nobody watches.
        let _ = self.bustle.news.send(Arc::clone(&self.name));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut times = self.0.lock();
        times.busy -= 1;
        if times.busy > 0 {
            return;
        }
        times.warming = Some(Timestamp::now());
        drop(times);
        self.0.bustle.running.fetch_sub(1, Ordering::AcqRel);
        self.0.announce();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sprite_runs_until_the_last_who_needs_it_is_gone_and_takes_one_place() {
        let bustle = Bustle::new(1);
        let mut news = bustle.news();
        let (one, other) = (Activity::new("one", &bustle), Activity::new("other", &bustle));
        let (first, second) = (one.begin().unwrap(), one.begin().unwrap());
        assert!(other.begin().is_err(), "the host has one place");
        drop(first);
        assert!(one.times().is_running());
        drop(second);
        assert!(!one.times().is_running() && one.times().warming >= one.times().running);
        drop(other.begin().unwrap());
        let heard: Vec<_> = std::iter::from_fn(|| news.try_recv().ok()).collect();
        assert_eq!(
            heard.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["one", "one", "other", "other"]
        );
    }
}
