//! Services: commands that the host keeps running in a sprite.
//!
//! Invariant: a service that shall run is started again whenever its process ends, and when the host comes back; what shall
//! run is on disk before it is answered. Definitions are the sprite's, not part of its checkpoints.

mod change;
mod definition;
mod endpoint;
mod log;
mod run;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{sync::watch, time};

pub(super) use change::resume;
pub(super) use endpoint::{define, list, logs, remove, restart, show, signal, start, stop};

use self::{
    definition::{Kept, check},
    log::Log,
};
use super::{error::ApiError, resolve::Root, session::Session};
use crate::sprite::{
    Signal,
    wire_services::{Definition, ServiceInfo, ServiceState, Status},
};

/// How long a request waits for a service that is being started.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// One service: what it is doing, and its log.
#[derive(Debug)]
struct Service {
    name: String,
    log: Arc<Log>,
    state: watch::Sender<ServiceState>,
    /// Its process, to signal it.
    session: Mutex<Option<Arc<Session>>>,
}

impl Service {
    fn change(&self, change: impl FnOnce(&mut ServiceState)) {
        self.state.send_modify(change);
    }

    fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Signals its process; `false` if there is none.
    async fn signal(&self, signal: Signal) -> bool {
        let session = self
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match session {
            Some(session) => session.signal(signal).await,
            None => false,
        }
    }

    async fn until(&self, so: impl FnMut(&ServiceState) -> bool) {
        // The sender is here.
        let _ = self.state.subscribe().wait_for(so).await;
    }
}

/// A service with its definition, and how to stop it while it shall run.
#[derive(Debug)]
struct Known {
    definition: Definition,
    service: Arc<Service>,
    /// Dropped by its run when that has ended.
    stop: Option<watch::Sender<Option<Duration>>>,
}

impl Known {
    fn runs(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| !stop.is_closed())
    }

    fn info(&self) -> ServiceInfo {
        ServiceInfo {
            definition: self.definition.clone(),
            state: self.service.state.borrow().clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    closed: bool,
    by_name: BTreeMap<String, Known>,
}

impl Table {
    fn definitions(&self) -> BTreeMap<String, Definition> {
        let all = self.by_name.iter();
        all.map(|(name, known)| (name.clone(), known.definition.clone()))
            .collect()
    }

    fn known(&self, name: &str) -> Result<&Known, ApiError> {
        self.by_name.get(name).ok_or_else(|| not_found(name))
    }
}

/// The services of one sprite.
#[derive(Debug)]
pub(super) struct Services {
    home: PathBuf,
    root: Root,
    log_bytes: u64,
    table: Mutex<Table>,
    /// Held while services are defined, started and stopped.
    changing: tokio::sync::Mutex<()>,
}

impl Services {
    /// Of the sprite in `home` with the file system `root`; each log file holds `log_bytes`.
    pub(super) fn new(home: PathBuf, root: Root, log_bytes: u64) -> Self {
        Self {
            home,
            root,
            log_bytes,
            table: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is started; what runs is asked to end at once. What shall run stays written down.
    pub(super) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        for known in table.by_name.values() {
            if let Some(stop) = &known.stop {
                stop.send_replace(Some(Duration::ZERO));
            }
        }
    }

    fn list(&self) -> Vec<ServiceInfo> {
        self.table().by_name.values().map(Known::info).collect()
    }

    fn show(&self, name: &str) -> Result<ServiceInfo, ApiError> {
        Ok(self.table().known(name)?.info())
    }

    fn service(&self, name: &str) -> Result<Arc<Service>, ApiError> {
        Ok(Arc::clone(&self.table().known(name)?.service))
    }

    fn runs(&self, name: &str) -> bool {
        self.table().by_name.get(name).is_some_and(Known::runs)
    }

    /// Whether it may be defined so.
    fn check(&self, new: &Definition, limit: usize) -> Result<(), ApiError> {
        check(new, &self.table().definitions(), limit)
    }

    /// The port of the service that answers at the sprite's address, if there is one; waits while it is being started.
    pub(super) async fn web_port(&self) -> Option<u16> {
        let (port, service) = {
            let table = self.table();
            let mut all = table.by_name.values();
            all.find_map(|known| Some((known.definition.http_port?, Arc::clone(&known.service))))?
        };
        let started = service.until(|state| state.status != Status::Starting);
        // If it takes longer, the port says what there is to say.
        let _ = time::timeout(STARTED_WITHIN, started).await;
        Some(port)
    }

    fn new_service(&self, name: &str) -> Arc<Service> {
        let state = ServiceState {
            name: name.to_owned(),
            ..ServiceState::default()
        };
        Arc::new(Service {
            name: name.to_owned(),
            log: Arc::new(Log::new(self.root.clone(), name, self.log_bytes)),
            state: watch::Sender::new(state),
            session: Mutex::default(),
        })
    }

    /// Writes down what there is and what of it shall run, with these changes: names that shall run, or shall not.
    async fn keep(&self, changes: &[(&str, bool)]) -> Result<(), ApiError> {
        let kept: Vec<Kept> = {
            let table = self.table();
            if table.closed {
                return Err(ApiError::gone(
                    "the sprite is being deleted or its host is shutting down",
                ));
            }
            let wanted = |name: &str, known: &Known| {
                let change = changes.iter().rev().find(|(changed, _)| *changed == name);
                change.map_or_else(|| known.runs(), |(_, wanted)| *wanted)
            };
            let all = table.by_name.iter();
            all.map(|(name, known)| Kept {
                definition: known.definition.clone(),
                wanted: wanted(name, known),
            })
            .collect()
        };
        let home = self.home.clone();
        let written = tokio::task::spawn_blocking(move || definition::write(&home, &kept)).await;
        let written = written.map_err(io::Error::other).and_then(|written| written);
        written.map_err(|error| ApiError::internal("the services could not be written down", &error))
    }
}

fn not_found(name: &str) -> ApiError {
    let message = format!("service {name} does not exist; define it first");
    ApiError::new(StatusCode::NOT_FOUND, "service_not_found", message)
}

fn not_running(name: &str) -> ApiError {
    let message = format!("service {name} does not run; start it first");
    ApiError::new(StatusCode::CONFLICT, "service_not_running", message)
}
