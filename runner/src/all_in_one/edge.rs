//! The native edge in this process.

use std::{future::Future, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use roost_edge::{
    auth::keys::MasterKey,
    db::Database,
    edge::{Edge, PrivateAddresses, Settings},
    host::native,
};
use tokio::net::TcpListener;

use super::database;
use crate::{
    cli::Failure,
    config::{self, Config},
};

/// An edge that has its socket and its database, and serves once told to.
pub struct BoundEdge {
    edge: Arc<Edge>,
    listener: TcpListener,
    url: String,
}

/// Opens the database and takes the socket; call inside a runtime.
///
/// # Errors
/// When either fails. A database server that is away is no error: the edge then answers 503 until it comes back.
pub async fn bind(config: &Config, master: &MasterKey) -> Result<BoundEdge, Failure> {
    let address = database::address(config)?;
    let listen = config.edge.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| Failure::listen(listen, &error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| Failure::listen(listen, &error))?;
    let url = format!("http://{}", reachable(bound));
    let ports = native::ports(&address).map_err(database::host_failure)?;
    let public_url = config.edge.public_url.as_deref().unwrap_or(&url);
    let settings = Settings {
        lease: Duration::from_secs(config.edge.lease_s),
        send_within: Duration::from_secs(config.edge.send_within_s),
        crash_limit: config.edge.crash_limit.max(1),
        keep_payloads_days: NonZeroU32::new(config.edge.keep_payloads_days),
        private_addresses: match config.edge.private_addresses {
            config::PrivateAddresses::Refused => PrivateAddresses::Refused,
            config::PrivateAddresses::Allowed => PrivateAddresses::Allowed,
        },
        ..Settings::new(public_url.trim_end_matches('/'))
    };
    Ok(BoundEdge {
        edge: Edge::new(ports, settings, master),
        listener,
        url,
    })
}

/// How this machine reaches what listens there: an unspecified address is reached by loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl BoundEdge {
    /// How this machine reaches it, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its database.
    pub(super) fn database(&self) -> &Arc<dyn Database> {
        &self.edge.ports.database
    }

    /// Serves until `shutdown` completes and what was under way is answered.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Failure> {
        native::serve(self.listener, self.edge, shutdown)
            .await
            .map_err(|error| Failure::failed("edge_stopped", format!("the edge stopped: {error}")))
    }
}
