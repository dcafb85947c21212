//! What is done to services: defined, started, stopped, deleted, one change at a time.
//!
//! Invariant: what shall run from then on is on disk before anything is started or stopped for it.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Known,
    definition::{self, Kept, conflict, order},
    log::Log,
    not_running,
    run::Run,
};
use crate::sprite::{
    host::{HostConfig, error::ApiError, local::LocalSprite},
    wire_services::{Definition, Status},
};

/// How long a service may take to stop that is replaced or deleted.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);

/// Reads what services a sprite has, and starts what shall run. Before anybody else knows the sprite.
pub(in crate::sprite::host) async fn resume(sprite: &Arc<LocalSprite>, config: &Arc<HostConfig>) {
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
pub(super) async fn put(
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
pub(super) async fn end(sprite: &LocalSprite, name: &str, within: Duration) -> Result<(), ApiError> {
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
pub(super) async fn again(
    sprite: Arc<LocalSprite>,
    config: Arc<HostConfig>,
    name: String,
) -> Result<(), ApiError> {
    let _changing = sprite.services.changing.lock().await;
    halt(&sprite, &name, REPLACED_WITHIN).await;
    begin(&sprite, &config, &name).await
}

/// Starts a service that is defined.
pub(super) async fn go(
    sprite: Arc<LocalSprite>,
    config: Arc<HostConfig>,
    name: String,
) -> Result<(), ApiError> {
    let _changing = sprite.services.changing.lock().await;
    begin(&sprite, &config, &name).await
}

/// Deletes a service; one that others need stays.
pub(super) async fn delete(sprite: &LocalSprite, name: &str) -> Result<(), ApiError> {
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
