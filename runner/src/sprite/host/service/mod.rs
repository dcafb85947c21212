//! Services: commands that the host keeps running in a sprite.
//!
//! Invariant: a service that shall run is started again whenever its process ends, and when the host comes back; what shall
//! run is on disk before it is answered. Definitions are the sprite's, not part of its checkpoints.

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

pub(super) use endpoint::{define, list, logs, remove, restart, show, signal, start, stop};

use self::{
    definition::{Kept, check, conflict, order},
    log::Log,
    run::Run,
};
use super::{HostConfig, error::ApiError, local::LocalSprite, resolve::Root, session::Session};
use crate::sprite::{
    Signal,
    wire_services::{Definition, ServiceInfo, ServiceState, Status},
};

/// How long a service may take to stop that is replaced or deleted.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);
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

/// Reads what services a sprite has, and starts what shall run. Before anybody else knows the sprite.
pub(super) async fn resume(sprite: &Arc<LocalSprite>, config: &Arc<HostConfig>) {
    let services = &sprite.services;
    let home = services.home.clone();
    let read = tokio::task::spawn_blocking(move || definition::read(&home)).await;
    let kept = match read.map_err(io::Error::other).and_then(|read| read) {
        Ok(kept) => kept,
        Err(error) => {
            tracing::error!(%error, sprite = sprite.record.name, "its services can't be read and are not started");
            return;
        }
    };
    let mut wanted = Vec::new();
    {
        let mut table = services.table();
        for Kept {
            definition,
            wanted: shall,
        } in kept
        {
            let name = definition.name.clone();
            let known = Known {
                service: services.new_service(&name),
                definition,
                stop: None,
            };
            if shall {
                wanted.push(name.clone());
            }
            table.by_name.insert(name, known);
        }
    }
    for name in wanted {
        launch(sprite, config, &name);
    }
}

/// Defines a service, in place of one of that name, and starts it with what it needs. `heard` gets its log before anything
/// is said in it.
async fn put(
    sprite: &Arc<LocalSprite>,
    config: &Arc<HostConfig>,
    new: Definition,
    heard: impl FnOnce(&Log),
) -> Result<(), ApiError> {
    let services = &sprite.services;
    let _changing = services.changing.lock().await;
    services.check(&new, config.limits.services)?;
    let name = new.name.clone();
    let service = services.service(&name);
    let service = service.unwrap_or_else(|_| services.new_service(&name));
    heard(&service.log);
    halt(sprite, &name, REPLACED_WITHIN).await;
    let known = Known {
        definition: new,
        service,
        stop: None,
    };
    services.table().by_name.insert(name.clone(), known);
    begin(sprite, config, &name).await
}

/// Starts a service with what it needs, unless they run.
async fn begin(sprite: &Arc<LocalSprite>, config: &Arc<HostConfig>, name: &str) -> Result<(), ApiError> {
    let services = &sprite.services;
    let names = {
        let table = services.table();
        table.known(name)?;
        order(&table.definitions(), name)
    };
    let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), true)).collect();
    services.keep(&wanted).await?;
    for name in &names {
        launch(sprite, config, name);
    }
    Ok(())
}

/// Lets a service run from now on, unless it does.
fn launch(sprite: &Arc<LocalSprite>, config: &Arc<HostConfig>, name: &str) {
    let mut table = sprite.services.table();
    if table.closed {
        return;
    }
    let needs = match table.by_name.get(name) {
        Some(known) if !known.runs() => known.definition.needs.iter(),
        _ => return,
    };
    let needs = needs
        .filter_map(|need| Some(Arc::clone(&table.by_name.get(need)?.service)))
        .collect();
    let Some(known) = table.by_name.get_mut(name) else {
        return;
    };
    let (stop, stopped) = watch::channel(None);
    known.stop = Some(stop);
    known.service.change(|state| {
        state.status = Status::Starting;
        state.restart_count = 0;
    });
    let run = Run {
        sprite: Arc::clone(sprite),
        config: Arc::clone(config),
        service: Arc::clone(&known.service),
        definition: known.definition.clone(),
        needs,
        stop: stopped,
    };
    tokio::spawn(run.run());
}

/// Ends a service's run, if there is one, and waits for that.
async fn halt(sprite: &LocalSprite, name: &str, within: Duration) {
    let stop = {
        let table = sprite.services.table();
        let known = table.by_name.get(name);
        known.and_then(|known| known.stop.clone())
    };
    if let Some(stop) = stop {
        stop.send_replace(Some(within));
        stop.closed().await;
    }
}

/// Stops a service; it stays stopped.
async fn end(sprite: &LocalSprite, name: &str, within: Duration) -> Result<(), ApiError> {
    let services = &sprite.services;
    let _changing = services.changing.lock().await;
    if !services.table().known(name)?.runs() {
        return Err(not_running(name));
    }
    services.keep(&[(name, false)]).await?;
    halt(sprite, name, within).await;
    Ok(())
}

/// Stops a service if it runs, and starts it.
async fn again(sprite: &Arc<LocalSprite>, config: &Arc<HostConfig>, name: &str) -> Result<(), ApiError> {
    let _changing = sprite.services.changing.lock().await;
    halt(sprite, name, REPLACED_WITHIN).await;
    begin(sprite, config, name).await
}

/// Starts a service that is defined.
async fn go(sprite: &Arc<LocalSprite>, config: &Arc<HostConfig>, name: &str) -> Result<(), ApiError> {
    let _changing = sprite.services.changing.lock().await;
    begin(sprite, config, name).await
}

/// Deletes a service; one that others need stays.
async fn delete(sprite: &LocalSprite, name: &str) -> Result<(), ApiError> {
    let services = &sprite.services;
    let _changing = services.changing.lock().await;
    {
        let table = services.table();
        table.known(name)?;
        let needs_it = |known: &&Known| known.definition.needs.iter().any(|need| need == name);
        if let Some(other) = table.by_name.values().find(needs_it) {
            return Err(conflict(format!(
                "service {} needs {name}; delete or change that first",
                other.definition.name
            )));
        }
    }
    halt(sprite, name, REPLACED_WITHIN).await;
    services.table().by_name.remove(name);
    services.keep(&[]).await
}

fn not_found(name: &str) -> ApiError {
    let message = format!("service {name} does not exist; define it first");
    ApiError::new(StatusCode::NOT_FOUND, "service_not_found", message)
}

fn not_running(name: &str) -> ApiError {
    let message = format!("service {name} does not run; start it first");
    ApiError::new(StatusCode::CONFLICT, "service_not_running", message)
}
