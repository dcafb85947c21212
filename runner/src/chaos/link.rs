//! A link: the network between two parts, which can be cut and held.
//!
//! Invariant: bytes that are let through are let through unchanged and in order. A cut drops every connection at once, on
//! both sides; held bytes wait and go on when the link is let go, as in a network that lost packets for a while.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// A port of this machine behind which another one lies, as long as it is not cut off.
#[derive(Debug)]
pub struct Link {
    name: &'static str,
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    cuts: u64,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Held,
}

impl Link {
    /// A link to `target`, called `name` in the report.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn to(name: &'static str, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, _) = watch::channel(State {
            cuts: 0,
            flow: Flow::Open,
        });
        let state = Arc::new(sender);
        let accepting = tokio::spawn(accept(listener, target, state.clone()));
        Ok(Self {
            name,
            address,
            state,
            accepting,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Drops every connection that is open now.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Lets nothing through any more.
    pub fn hold(&self) {
        self.state.send_modify(|state| state.flow = Flow::Held);
    }

    /// Lets everything through again.
    pub fn let_go(&self) {
        self.state.send_modify(|state| state.flow = Flow::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: Arc<watch::Sender<State>>) {
    while let Ok((near, _)) = listener.accept().await {
        let watching = state.subscribe();
        tokio::spawn(async move {
            // A connection that can't be made is dropped, as a part that is away would refuse it.
            if let Ok(far) = TcpStream::connect(target).await {
                join(near, far, watching).await;
            }
        });
    }
}

/// Carries bytes both ways until one side ends or the link is cut.
async fn join(near: TcpStream, far: TcpStream, mut watching: watch::Receiver<State>) {
    for stream in [&near, &far] {
        // What the parts ask of their own sockets.
        drop(stream.set_nodelay(true));
    }
    let cuts = watching.borrow_and_update().cuts;
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let carried = async {
        tokio::select! {
            () = carry(near_in, far_out, watching.clone()) => {}
            () = carry(far_in, near_out, watching.clone()) => {}
        }
    };
    let mut cutting = watching.clone();
    tokio::select! {
        () = carried => {}
        // An error means that the link itself is gone.
        _ = cutting.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut watching: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read) = from.read(&mut buffer).await else {
            return;
        };
        if watching.wait_for(|state| state.flow == Flow::Open).await.is_err() {
            return;
        }
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_held_link_keeps_bytes_and_a_cut_one_drops_its_connections() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::to("test", server.local_addr().unwrap()).await.unwrap();
        let mut near = TcpStream::connect(link.address).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        let mut byte = [0];
        near.write_all(b"a").await.unwrap();
        far.read_exact(&mut byte).await.unwrap();
        link.hold();
        near.write_all(b"b").await.unwrap();
        let nothing = timeout(Duration::from_millis(50), far.read_exact(&mut byte)).await;
        assert!(nothing.is_err(), "held");
        link.let_go();
        far.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, *b"b");
        link.cut();
        assert!(!matches!(near.read(&mut byte).await, Ok(1..)));
        assert!(!matches!(far.read(&mut byte).await, Ok(1..)));
    }
}
