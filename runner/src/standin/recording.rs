//! What a stand-in has seen or made: a list that tests read and wait for. And how a stand-in is served.
//!
//! Invariant: whoever waits looks again after every change, and begins to listen before the first look.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use axum::{Router, body::Body, response::Response, serve::ListenerExt};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// A list, oldest first, of which the latest are kept, and at most as many before them.
#[derive(Debug)]
pub(super) struct Recording<T> {
    items: Mutex<Vec<T>>,
    kept: usize,
    /// How many there have been, forgotten ones included.
    count: watch::Sender<usize>,
}

impl<T: Clone> Recording<T> {
    /// An empty list that keeps so many at least.
    pub(super) fn of_the_last(kept: usize) -> Self {
        Self {
            items: Mutex::default(),
            kept,
            count: watch::Sender::new(0),
        }
    }

    /// Adds one.
    pub(super) fn push(&self, item: T) {
        self.push_unless(|_| None, |_| item);
    }

    /// Adds what `make` makes, given how many there have been, unless `known` finds that it is there; gives it, and whether it is
    /// new.
    pub(super) fn push_unless(
        &self,
        known: impl Fn(&[T]) -> Option<T>,
        make: impl FnOnce(usize) -> T,
    ) -> (T, Novelty) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known(&items) {
            return (known, Novelty::Known);
        }
        let item = make(*self.count.borrow());
        // Half of them at a time: one by one, each would move all the others.
        if items.len() >= 2 * self.kept {
            items.drain(..self.kept);
        }
        items.push(item.clone());
        self.count.send_modify(|count| *count += 1);
        (item, Novelty::New)
    }

    /// All that are kept.
    pub(super) fn all(&self) -> Vec<T> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `found` finds what it looks for.
    pub(super) async fn until<R>(&self, mut found: impl FnMut(&[T]) -> Option<R>) -> R {
        let mut count = self.count.subscribe();
        loop {
            let there = found(&self.items.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(found) = there {
                return found;
            }
            // The sender lives as long as `self`, so this can't fail.
            let _ = count.changed().await;
        }
    }

    /// Waits until there have been so many.
    pub(super) async fn counted(&self, wanted: usize) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`, so this can't fail.
        let _ = count.wait_for(|count| *count >= wanted).await;
    }
}

/// Whether something was made just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    New,
    Known,
}

/// No answer: the connection is cut before a byte of one was written.
pub(super) fn cut() -> Response {
    let broken = Err::<Vec<u8>, _>(io::Error::from(io::ErrorKind::ConnectionReset));
    Response::new(Body::from_stream(futures::stream::iter([broken])))
}

/// A router that is served on a free port of 127.0.0.1 until this is dropped.
#[derive(Debug)]
pub(super) struct Served {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Served {
    /// Begins to serve; `name` stands in the log if it fails.
    pub(super) async fn start(name: &'static str, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // Small events, one by one: with Nagle's algorithm they would wait for the other side's acknowledgements.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, name, "a stand-in stopped");
            }
        });
        Ok(Self { address, server })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}
