//! What keeps a sprite in: the level this host gives, found out by trying.
//!
//! Invariant: a host that was not told otherwise starts only where a real sprite, started for the purpose, came up behind all
//! walls. Nothing is assumed from version numbers.

use std::{io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    HostConfig, HostError,
    cgroup::{Amounts, Groups},
    init::wire::{Orders, Walls},
    policy::Policies,
    process::Command,
    resolve::{self, View},
    sandbox::Sandbox,
};

/// Whether commands may run without walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Sprites are walled in, or the host does not start.
    Required,
    /// Commands are plain processes of the host's user: for agents one would give one's own shell.
    None,
}

/// The first user of a host that runs as root gives to sprites; each has its own. Above what distributions give to people
/// and services, below what they give to containers' ranges.
const FIRST_USER: u32 = 1_900_000_000;

const TRIAL: &str = "trial";
const TRIAL_WITHIN: Duration = Duration::from_secs(10);

/// What is said of a host's walls when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Whether commands are walled in at all.
    pub isolated: bool,
    /// One sentence for people.
    pub summary: String,
    /// What a person can do for a better one, if there is anything.
    pub advice: Option<&'static str>,
}

impl Isolation {
    /// How commands see a sprite's root.
    pub(super) fn view(self) -> View {
        match self {
            Self::Required => View::Walled,
            Self::None => View::Open,
        }
    }

    /// The groups of a host in `dir`: none for sprites without walls. Blocks shortly.
    pub(super) fn groups(self, dir: &Path) -> Groups {
        match self {
            Self::Required => Groups::open(dir),
            Self::None => Groups::none(),
        }
    }

    /// What an init is told.
    pub(super) fn orders(
        self,
        config: &HostConfig,
        name: &str,
        user: Option<u32>,
        policies: &Policies,
    ) -> Orders {
        let walls = match self {
            Self::None => None,
            Self::Required => Some(Walls {
                group: None,
                user,
                shared: config.shared.clone(),
                tracing: policies.tracing(),
                memory: policies.memory_bytes(&config.limits),
                file: config.limits.disk_bytes,
                processes: config.limits.processes,
                memory_files: config.limits.memory_file_bytes,
            }),
        };
        Orders {
            name: name.to_owned(),
            walls,
        }
    }
}

/// The user outside that sprite number `number` of this host has; `None` where the host can't give users.
pub(super) fn user(number: u32) -> Option<u32> {
    rustix::process::geteuid()
        .is_root()
        .then(|| FIRST_USER.saturating_add(number))
}

/// Starts a sprite for trial in `dir`, a directory of no other host, and ends it.
///
/// # Errors
/// [`HostError::NoIsolation`] where walls are required and can't be had.
pub async fn probe(config: &HostConfig, dir: &Path) -> Result<Level, HostError> {
    let groups = config.isolation.groups(dir);
    try_walls(config, dir, &groups).await
}

/// As [`probe`], in the groups that the host's sprites will be in.
pub(super) async fn try_walls(config: &HostConfig, dir: &Path, groups: &Groups) -> Result<Level, HostError> {
    if config.isolation == Isolation::None {
        return Ok(Level {
            isolated: false,
            summary: "sprites are NOT isolated: their commands run as this user, see its files and network; run only \
                      agents you would give your own shell"
                .into(),
            advice: Some("take --unsafe-no-isolation away, or isolation = \"none\" under [sprites]"),
        });
    }
    let own_user = user(0);
    let root = dir.join(TRIAL);
    let tried = async {
        resolve::make_root(&root, own_user)?;
        let orders = config
            .isolation
            .orders(config, TRIAL, own_user, &Policies::default());
        let amounts = Amounts::of(&Policies::default(), &config.limits);
        let sandbox = Sandbox::start(&config.init, &root, orders, groups.make(TRIAL, amounts)).await?;
        let command = Command {
            program: "/bin/sh".into(),
            arguments: vec!["sh".into(), "-c".into(), "exit 7".into()],
            dir: "/".into(),
            env: [].into(),
            stdin: false,
            tty: None,
        };
        let started = sandbox.run(command).await?;
        let exit = tokio::time::timeout(TRIAL_WITHIN, started.exit).await;
        sandbox.end().await;
        match exit {
            Ok(Ok(7)) => Ok((sandbox.files.clone(), sandbox.is_grouped())),
            Ok(ended) => Err(io::Error::other(format!("a command in it ended with {ended:?}"))),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    let tried: io::Result<(String, bool)> = tried.await;
    if let Err(error) = std::fs::remove_dir_all(&root) {
        tracing::debug!(%error, "the trial sprite's directory stays until the next start");
    }
    let (files, is_grouped) = tried.map_err(|source| HostError::NoIsolation { source })?;
    let amounts = if is_grouped {
        groups.summary()
    } else {
        groups.absence()
    };
    let users = if own_user.is_some() {
        "a user of its own"
    } else {
        "this user's rights only inside"
    };
    Ok(Level {
        isolated: true,
        summary: format!(
            "sprites are isolated: namespaces (user, mount, pid, network, ipc, host name, cgroup), {users}, no new \
             privileges, seccomp, {files}, {amounts}"
        ),
        advice: groups.advice(),
    })
}
