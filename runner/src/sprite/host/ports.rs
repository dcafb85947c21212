//! The ports inside a sprite: which of them listen, and a way to each.
//!
//! Invariant: only ports that processes of the sprite listen on are named or reached, never those of the host or of other
//! sprites. Nobody looks at ports while nobody follows them.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{net::TcpStream, sync::watch, time};

use super::{error::ApiError, init::wire::ListeningPort, local::LocalSprite};
use crate::sprite::wire_ports::{PortEvent, PortEventKind};

/// A command that ends sooner than this is not worth a look at the ports.
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is told of a port.
pub(super) fn event(port: &ListeningPort, kind: PortEventKind) -> PortEvent {
    PortEvent {
        kind,
        port: port.port,
        address: port.address.clone(),
        pid: port.pid,
    }
}

/// The ports that processes of the sprite listen on.
pub(super) async fn listening(sprite: &LocalSprite) -> BTreeSet<ListeningPort> {
    match sprite.ports().await {
        Ok(ports) => ports.into_iter().collect(),
        Err(error) => {
            tracing::debug!(sprite = sprite.record.name, %error, "its ports can't be listed");
            BTreeSet::new()
        }
    }
}

/// A connection to a port inside the sprite; refused where none of its processes listens.
pub(super) async fn connect(sprite: &LocalSprite, port: u16) -> Result<io::Result<TcpStream>, ApiError> {
    let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    // Behind walls whatever listens is the sprite's. Without them the network is the machine's, and it has to be looked up.
    let addresses = if sprite.root.seen() == Path::new("/") {
        loopbacks.to_vec()
    } else {
        let listening = listening(sprite).await;
        let own = listening.iter().filter(|listening| listening.port == port);
        own.map(|listening| match listening.address.parse() {
            Ok(IpAddr::V6(address)) if address.is_unspecified() => loopbacks[1],
            Ok(address) if !address.is_unspecified() => address,
            _ => loopbacks[0],
        })
        .collect()
    };
    let mut connected = Err(io::ErrorKind::ConnectionRefused.into());
    for address in addresses {
        connected = sprite.connect(SocketAddr::new(address, port)).await?;
        if connected.is_ok() {
            break;
        }
    }
    Ok(connected.and_then(|stream| {
        stream.set_nodelay(true)?;
        Ok(stream)
    }))
}

/// What is known of one sprite's ports while somebody follows them.
#[derive(Debug, Default)]
pub(super) struct Ports {
    known: watch::Sender<BTreeSet<ListeningPort>>,
    /// Whether somebody looks; changes together with the number of followers.
    looking: Mutex<bool>,
}

impl Ports {
    /// Follows the ports of a sprite. `told`: what the follower knows already.
    pub(super) fn follow(sprite: &Arc<LocalSprite>, told: BTreeSet<ListeningPort>) -> Follower {
        let mut looking = sprite
            .port_watch
            .looking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = sprite.port_watch.known.subscribe();
        if !*looking {
            *looking = true;
            tokio::spawn(look(Arc::downgrade(sprite)));
        }
        drop(looking);
        Follower { known, told }
    }

    /// Whether it is time to look no longer, which is then agreed.
    fn is_done(&self) -> bool {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.known.receiver_count() == 0;
        *looking = !done;
        done
    }
}

/// Looks for as long as somebody follows.
async fn look(sprite: Weak<LocalSprite>) {
    time::sleep(FIRST_LOOK_AFTER).await;
    while let Some(sprite) = sprite.upgrade() {
        if sprite.port_watch.is_done() {
            return;
        }
        let now = listening(&sprite).await;
        sprite.port_watch.known.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        drop(sprite);
        time::sleep(LOOK_EVERY).await;
    }
}

/// Tells one client of the ports that open and close.
#[derive(Debug)]
pub(super) struct Follower {
    known: watch::Receiver<BTreeSet<ListeningPort>>,
    told: BTreeSet<ListeningPort>,
}

impl Follower {
    /// The next changes, at least one; never ends.
    pub(super) async fn next(&mut self) -> Vec<PortEvent> {
        loop {
            if self.known.changed().await.is_err() {
                // The sprite is gone, and no port of it opens or closes any more.
                std::future::pending::<()>().await;
            }
            let now = self.known.borrow_and_update().clone();
            let closed = self.told.difference(&now);
            let closed = closed.map(|port| event(port, PortEventKind::PortClosed));
            let opened = now.difference(&self.told);
            let opened = opened.map(|port| event(port, PortEventKind::PortOpened));
            let changes: Vec<_> = closed.chain(opened).collect();
            self.told = now;
            if !changes.is_empty() {
                return changes;
            }
        }
    }
}
