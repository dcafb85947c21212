//! This machine: programs, data directory, master key, database.

use std::path::Path;

use tokio::{process::Command, time::timeout};

use super::{Finding, PATIENCE, Patient};
use crate::{
    all_in_one::{database, keys, own_program},
    config::Config,
    sprite::host,
};

/// Less free space than this deserves a word, in bytes.
const LITTLE: u64 = 1 << 30;

/// The programs that agents and the demo call.
pub(super) async fn programs() -> Vec<Finding> {
    let mut findings = Vec::new();
    for (program, needed_for) in [
        ("git", "for repositories"),
        ("bash", "for every agent's shell"),
        ("python3", "for `roost demo` only"),
    ] {
        let asked = Command::new(program).arg("--version").kill_on_drop(true).output();
        let said = match timeout(PATIENCE, asked).await {
            Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout)
                .lines()
                .next()
                .map(str::to_owned),
            _ => None,
        };
        findings.push(match said {
            Some(version) => Finding::ok(program, version),
            None if program == "python3" => {
                Finding::warn(program, format!("{program} is missing; install it {needed_for}"))
            }
            None => Finding::fail(program, format!("{program} is missing; install it {needed_for}")),
        });
    }
    findings
}

pub(super) fn data_directory(data: &Path) -> Finding {
    const CHECK: &str = "data directory";
    let shown = data.display();
    // One that is not there yet is made in the nearest directory that is.
    let Some(there) = data.ancestors().find(|path| path.is_dir()) else {
        return match data.is_relative() {
            true => Finding::ok(CHECK, format!("{shown} will be made at the first start")),
            false => Finding::fail(
                CHECK,
                format!("{shown} can't be made; choose another one with --data"),
            ),
        };
    };
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        return Finding::fail(
            CHECK,
            format!(
                "{} can't be written; choose another one with --data",
                there.display()
            ),
        );
    }
    let free = rustix::fs::statvfs(there).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    match free {
        Ok(free) if free < LITTLE => Finding::warn(
            CHECK,
            format!("{shown} has only {} MiB left; make room", free >> 20),
        ),
        Ok(free) => Finding::ok(CHECK, format!("{shown} can be written, {} GiB free", free >> 30)),
        Err(error) => Finding::warn(CHECK, format!("{shown}: the free space can't be read: {error}")),
    }
}

pub(super) fn master_key(patient: &Patient) -> Finding {
    const CHECK: &str = "master key";
    match keys::master_key(&patient.config, Some(&patient.data)) {
        Ok(key) => Finding::ok(CHECK, format!("key {} is there; keep a copy elsewhere", key.id())),
        Err(failure) if failure.problem.code == keys::NO_MASTER_KEY => Finding::warn(
            CHECK,
            "there is none yet; `roost up` makes one at its first start",
        ),
        Err(failure) => Finding::fail(CHECK, failure.to_string()),
    }
}

pub(super) async fn database(patient: &Patient) -> Option<Finding> {
    const CHECK: &str = "database";
    let mut config = patient.config.clone();
    if config.edge.database.is_none() {
        let file = patient.data.join(database::FILE);
        config.edge.database = file.is_file().then(|| file.to_string_lossy().into_owned());
    }
    let database = config.edge.database.clone()?;
    Some(match timeout(PATIENCE, database::look(&config)).await {
        Ok(Ok(database::Look::Current)) => wholeness(CHECK, &database, &config).await,
        Ok(Ok(database::Look::Outdated)) => Finding::fail(
            CHECK,
            format!("{database} lacks migrations; run `roost migrate --database {database}`"),
        ),
        Ok(Err(failure)) => Finding::fail(CHECK, failure.to_string()),
        Err(_) => Finding::fail(
            CHECK,
            format!("{database} does not answer; check that its server runs"),
        ),
    })
}

/// Starts a sprite for trial, as a sprite host on this machine would, and says what keeps it in.
pub(super) async fn isolation(config: &Config) -> Finding {
    const CHECK: &str = "isolation";
    let tried = async {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let program = own_program().map_err(|failure| failure.to_string())?;
        let host = config.sprites.host(dir.path(), "", program);
        let level = host::probe(&host, dir.path()).await;
        level.map_err(|error| error.to_string())
    };
    match timeout(PATIENCE, tried).await {
        Ok(Ok(level)) => {
            let message = match level.advice {
                Some(advice) => format!("{}; {advice}", level.summary),
                None => level.summary,
            };
            match level.isolated {
                true => Finding::ok(CHECK, message),
                false => Finding::warn(CHECK, message),
            }
        }
        // Where another machine has the sprites, this one needs no walls.
        Ok(Err(why)) if config.sprites.token.is_some() => {
            Finding::warn(CHECK, format!("no sprite host can run here: {why}"))
        }
        Ok(Err(why)) => Finding::fail(CHECK, why),
        Err(_) => Finding::fail(
            CHECK,
            "a sprite started for trial does not answer; look at the machine's load",
        ),
    }
}

/// How whole a database is that is up to date.
async fn wholeness(check: &'static str, database: &str, config: &Config) -> Finding {
    match timeout(PATIENCE, database::check(config)).await {
        Ok(Ok(None)) => Finding::ok(check, format!("{database} is up to date")),
        Ok(Ok(Some(found))) => match found.faults.as_slice() {
            [] => Finding::ok(
                check,
                format!(
                    "{database} is up to date and whole: {} deliveries, {} runs, {} events",
                    found.deliveries, found.runs, found.events
                ),
            ),
            faults => Finding::fail(
                check,
                format!(
                    "{database} is damaged: {}; stop the edge and `roost restore` a backup",
                    faults.join(", ")
                ),
            ),
        },
        Ok(Err(failure)) => Finding::fail(check, failure.to_string()),
        Err(_) => Finding::ok(
            check,
            format!(
                "{database} is up to date, and too large to be checked just now; `roost backup` checks the copy it makes"
            ),
        ),
    }
}
