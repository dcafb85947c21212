//! The chaos on both databases: the file of an edge, and a real libSQL server with two edges on it. The engine is the
//! product's own, [`roost_runner::chaos`]; here it gets the server, and the program that was built beside this one.

use std::{path::Path, time::Duration};

use roost_runner::{
    chaos::{Chaos, DatabaseServer, Progress, Report},
    cli::Failure,
    config::Config,
    demo,
};
use serde::Serialize;

use crate::{roost_binary, tool};

/// How rough it gets.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Processes to kill.
    pub kills: u32,
    /// What decides the faults.
    pub seed: u64,
    /// Between two faults, on average.
    pub pace: Duration,
    /// Webhooks a second.
    pub webhooks_per_second: f64,
}

/// Both reports.
#[derive(Debug, Clone, Serialize)]
pub struct Reports {
    /// On the file of an edge.
    pub file: Report,
    /// On a libSQL server.
    pub server: Report,
}

impl Reports {
    /// Whether every promise was kept.
    pub fn are_kept(&self) -> bool {
        self.file.is_kept() && self.server.is_kept()
    }
}

/// Half of the kills on each database.
///
/// # Errors
/// When a part can't be started.
///
/// # Panics
/// When the libSQL server is not installed.
pub async fn both(weather: Weather, mut tell: impl FnMut(Progress)) -> Result<Reports, Failure> {
    let half = weather.kills / 2;
    let of = |kills| Weather { kills, ..weather };
    let file = one(None, of(weather.kills - half), &mut tell).await?;
    let server = one(Some(server()), of(half), &mut tell).await?;
    Ok(Reports { file, server })
}

/// The chaos on one database.
///
/// # Errors
/// When a part can't be started.
///
/// # Panics
/// When there is no temporary directory.
pub async fn one(
    database: Option<DatabaseServer>,
    weather: Weather,
    tell: impl FnMut(Progress),
) -> Result<Report, Failure> {
    let directory = tempfile::tempdir().expect("a directory");
    let program = roost_binary();
    let chaos = Chaos {
        isolation: walls(directory.path()).await?,
        program,
        directory: directory.path().to_owned(),
        database,
        kills: weather.kills,
        seed: weather.seed,
        pace: weather.pace,
        webhooks_per_second: weather.webhooks_per_second,
        lease: Duration::from_secs(2),
        // Longer than all that is held or paused, one after the other.
        send_within: Duration::from_secs(6),
    };
    roost_runner::chaos::run(&chaos, tell).await
}

/// The real libSQL server.
///
/// # Panics
/// When it is not installed.
pub fn server() -> DatabaseServer {
    let arguments = [
        "--no-welcome",
        "--http-listen-addr",
        "127.0.0.1:{port}",
        "--db-path",
        "{directory}",
    ];
    DatabaseServer {
        program: tool("sqld"),
        arguments: arguments.map(str::to_owned).to_vec(),
    }
}

/// Whether sprites can have walls here.
///
/// # Errors
/// When they are required and can't be had.
pub async fn walls(directory: &Path) -> Result<roost_runner::sprite::host::Isolation, Failure> {
    let mut config = Config::default();
    demo::choose_walls(&mut config, directory, None).await?;
    Ok(config.sprites.isolation)
}
