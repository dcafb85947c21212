//! A desk whose database is a libSQL server, so that edges that are processes work beside the desk's own, and can be killed.

use roost_edge::host::native::DatabaseAddress;
use tempfile::TempDir;

use crate::{RoostProcess, Sqld, desk::Desk, office::MASTER_KEY};

/// The public URL of the edges that are processes.
pub const PUBLIC_URL: &str = "http://127.0.0.1";

/// A desk and its libSQL server.
pub struct ServedDesk {
    /// The desk.
    pub desk: Desk,
    sqld: Sqld,
    settings: TempDir,
}

impl ServedDesk {
    /// Sets everything up on an empty server.
    ///
    /// # Panics
    /// When that fails.
    pub async fn open() -> Self {
        let sqld = Sqld::start().await;
        let database = DatabaseAddress::Server {
            url: sqld.url(),
            token: None,
        };
        let desk = Desk::open(&database).await;
        let settings = tempfile::tempdir().expect("a folder");
        let file = settings.path().join("roost.toml");
        std::fs::write(file, "[edge]\nprivate_addresses = \"allowed\"\n").expect("a file");
        Self { desk, sqld, settings }
    }

    /// Starts an edge on the same database; it may call the stand-ins.
    ///
    /// # Panics
    /// When it does not start.
    pub fn edge(&self) -> RoostProcess {
        let settings = self.settings.path().join("roost.toml").display().to_string();
        RoostProcess::start(
            &["edge", "--listen", "127.0.0.1:0", "--config", &settings],
            &[
                ("ROOST_DATABASE_URL", &self.sqld.url()),
                ("ROOST_MASTER_KEY", MASTER_KEY),
                ("ROOST_PUBLIC_URL", PUBLIC_URL),
            ],
        )
    }
}
