//! Options that several commands share, and how they are laid over the configuration file.

use std::{env, net::SocketAddr, path::PathBuf};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::{
    config::{Config, Secret},
    sprite::host::Isolation,
};

/// Where things are, and the file that says more.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The data directory [default: $XDG_DATA_HOME/roost or ~/.local/share/roost]
    #[arg(long, env = "ROOST_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file [default: roost.toml in the data directory, if there is one]
    #[arg(long, env = "ROOST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl PlaceArgs {
    /// The data directory.
    pub(crate) fn data(&self) -> Result<PathBuf, Failure> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let of = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        of("XDG_DATA_HOME")
            .or_else(|| Some(of("HOME")?.join(".local/share")))
            .map(|home| home.join("roost"))
            .ok_or_else(|| {
                Failure::usage(
                    "no_data_directory",
                    "there is no home directory here; say where to keep data with --data DIR",
                )
            })
    }

    /// Whether a data directory or a file was named.
    pub(crate) fn names_data(&self) -> bool {
        self.data.is_some() || self.config.is_some()
    }

    /// What the file says.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(file) => Ok(Config::read(file)?),
            None => match self.data() {
                Ok(data) => Ok(Config::of_data_directory(&data)?),
                Err(_) => Ok(Config::default()),
            },
        }
    }
}

/// The database.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// A file, or the URL of a libSQL server (libsql://, https:// or http://)
    #[arg(long, env = "ROOST_DATABASE_URL", value_name = "PATH|URL")]
    database: Option<String>,
    /// The libSQL server's token
    #[arg(
        long,
        env = "ROOST_DATABASE_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    database_token: Option<String>,
}

impl DatabaseArgs {
    /// Whether a database was named.
    pub(crate) fn names_one(&self) -> bool {
        self.database.is_some()
    }

    pub(crate) fn lay_over(self, config: &mut Config) {
        put(&mut config.edge.database, self.database);
        put(
            &mut config.edge.database_token,
            self.database_token.map(Secret::from),
        );
    }
}

/// The master key.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyArgs {
    /// What secrets are sealed with: 32 bytes in base 64
    #[arg(long, env = "ROOST_MASTER_KEY", value_name = "KEY", hide_env_values = true)]
    master_key: Option<String>,
    /// A file with the master key in it [default: master.key in the data directory]
    #[arg(long, env = "ROOST_MASTER_KEY_FILE", value_name = "FILE")]
    master_key_file: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) fn lay_over(self, config: &mut Config) {
        // A file named by a flag or variable counts more than a key in the configuration file.
        if self.master_key.is_some() || self.master_key_file.is_some() {
            config.edge.master_key = self.master_key.map(Secret::from);
            config.edge.master_key_file = self.master_key_file;
        }
    }
}

/// Where an edge listens, and how it is reached.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "ROOST_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// How people and providers reach the edge [default: http:// and where it listens]
    #[arg(long, env = "ROOST_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
}

impl ListenArgs {
    pub(crate) fn lay_over(self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.edge.listen = listen;
        }
        put(&mut config.edge.public_url, self.public_url);
    }
}

/// How sprites are kept in.
#[derive(Debug, Args)]
pub(crate) struct WallsArgs {
    /// Run agents' commands as plain processes of this user: only for agents you would give your own shell
    #[arg(long)]
    unsafe_no_isolation: bool,
}

impl WallsArgs {
    pub(crate) fn lay_over(&self, config: &mut Config) {
        if self.unsafe_no_isolation {
            config.sprites.isolation = Isolation::None;
        }
    }
}

/// What is logged, to standard error.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log: error, warn, info, debug or trace, also per module (info,roost_edge=debug)
    #[arg(long, env = "ROOST_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

impl From<String> for LogArgs {
    fn from(log: String) -> Self {
        Self { log }
    }
}

impl LogArgs {
    /// Starts logging.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        use std::io::IsTerminal;
        let filter = EnvFilter::try_new(&self.log)
            .map_err(|error| Failure::usage("log_filter", format!("--log {}: {error}", self.log)))?;
        let colours = std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
        // Only tests start logging twice in one process; the first one stays.
        drop(
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(colours)
                .try_init(),
        );
        Ok(())
    }
}

/// Replaces what the file says if a flag or variable says something.
pub(crate) fn put<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}
