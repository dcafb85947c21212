//! The edge's database: where it is, and bringing it up to date.

use std::{sync::Arc, thread};

use roost_edge::{
    db::{
        Database, DbError,
        checkup::{self, Checkup, Depth},
        migrate::{self, Schema},
    },
    edge::DEFAULT_WORKSPACE,
    host::native::{self, DatabaseAddress, HostError},
    setup,
};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    cli::Failure,
    clock::now,
    config::{Config, Secret},
};

/// What [`migrate`](fn@migrate) did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// Path or URL.
    pub database: String,
    /// The migrations it applied now, oldest first.
    pub applied: Vec<&'static str>,
    /// The workspace that is there now.
    pub workspace: &'static str,
}

/// The database's file in a data directory.
pub const FILE: &str = "roost.db";

/// How a database stands to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is ready.
    Current,
    /// Migrations are missing.
    Outdated,
}

/// Looks at the configured database and changes nothing.
///
/// # Errors
/// When it can't be reached, or is of a newer version than this program.
pub async fn look(config: &Config) -> Result<Look, Failure> {
    let database = native::ports(&address(config)?).map_err(host_failure)?.database;
    match migrate::inspect(&database).await.map_err(failure)? {
        Schema::Current => Ok(Look::Current),
        Schema::Older { .. } => Ok(Look::Outdated),
        Schema::Newer { found, wanted } => Err(newer(found, wanted)),
    }
}

/// Checks the configured database where it is a file: SQLite's own checks, and that journals have no gaps. Nothing for a
/// server, which looks after itself.
///
/// # Errors
/// When the file can't be read.
pub async fn check(config: &Config) -> Result<Option<Checkup>, Failure> {
    let DatabaseAddress::File(file) = address(config)? else {
        return Ok(None);
    };
    let (done, outcome) = oneshot::channel();
    // Not one of the runtime's threads, for which it would wait at its end however long they take.
    thread::spawn(move || drop(done.send(checkup::check(&file, Depth::Quick))));
    match outcome.await {
        Ok(found) => found.map(Some).map_err(failure),
        Err(_) => Err(Failure::failed("internal", "the check ended without a result")),
    }
}

fn newer(found: usize, wanted: usize) -> Failure {
    let message =
        format!("the database has {found} migrations, this program knows {wanted}; use a newer one");
    Failure::failed("schema_newer", message)
}

/// Applies the missing migrations and creates the default workspace.
///
/// # Errors
/// When the database is not configured, can't be reached, or is of a newer version than this program.
pub async fn migrate(config: &Config) -> Result<Migrated, Failure> {
    let database = native::ports(&address(config)?).map_err(host_failure)?.database;
    Ok(Migrated {
        database: config.edge.database.clone().unwrap_or_default(),
        applied: prepare(&database).await?,
        workspace: DEFAULT_WORKSPACE,
    })
}

/// Brings an open database up to date and gives the names of what was applied.
pub(super) async fn prepare(database: &Arc<dyn Database>) -> Result<Vec<&'static str>, Failure> {
    if let Schema::Newer { found, wanted } = migrate::inspect(database).await.map_err(failure)? {
        return Err(newer(found, wanted));
    }
    let applied = migrate::migrate(database, now()).await.map_err(failure)?;
    setup::ensure_workspace(database, DEFAULT_WORKSPACE, now())
        .await
        .map_err(failure)?;
    Ok(applied)
}

/// Where the configuration says that the database is.
pub(super) fn address(config: &Config) -> Result<DatabaseAddress, Failure> {
    let database = config.edge.database.as_deref().ok_or_else(|| {
        Failure::usage(
            "no_database",
            "no database is configured; say where it is with --database PATH or --database URL",
        )
    })?;
    let token = config.edge.database_token.as_ref().map(Secret::expose);
    Ok(DatabaseAddress::parse(database, token.map(str::to_owned)))
}

pub(super) fn failure(error: DbError) -> Failure {
    match error {
        DbError::Unavailable(reason) => Failure::failed(
            "database_unavailable",
            format!("the database can't be used: {reason}; check its path or URL, and that its server runs"),
        ),
        other => Failure::failed("database_error", other),
    }
}

pub(super) fn host_failure(error: HostError) -> Failure {
    match error {
        HostError::Database(error) => failure(error),
        HostError::Address(error) => Failure::usage("database_address", error),
        HostError::Http(_) => Failure::failed("no_http_client", error),
    }
}
