//! The stream of states: every sprite's state, then each change of one, as lines of JSON.
//!
//! Invariant: after a heartbeat the reader knows the state of all sprites as it was then. A reader that is slow misses states
//! in between, never the last one, and costs no memory: what changed is looked up when it can be sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use jiff::Timestamp;
use tokio::{
    sync::{broadcast, watch},
    time::{self, Interval},
};

use super::{Host, local::State};
use crate::sprite::wire_sprites::{Counts, StateEvent};

const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Changes that come together are sent together.
const TOGETHER: Duration = Duration::from_millis(5);

/// The states of sprites whose names start with `prefix`, of the first `most` of them to begin with.
pub(super) fn stream(host: Host, prefix: String, most: usize) -> Response {
    let follower = Follower {
        news: host.store.bustle().news(),
        closing: host.closing.subscribe(),
        seen: BTreeMap::new(),
        heartbeats: time::interval(HEARTBEAT_EVERY),
        host,
        prefix,
        most,
        begun: false,
    };
    let lines = stream::unfold(follower, |mut follower| async {
        let lines = follower.next().await?;
        Some((Ok::<_, Infallible>(lines), follower))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

struct Follower {
    host: Host,
    prefix: String,
    most: usize,
    news: broadcast::Receiver<Arc<str>>,
    closing: watch::Receiver<bool>,
    /// What the reader was told last.
    seen: BTreeMap<String, State>,
    heartbeats: Interval,
    begun: bool,
}

impl Follower {
    /// The next lines; `None` when the host closes.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            let first = self.host.store.list(&self.prefix, "", self.most);
            let names = first.iter().map(|sprite| sprite.record.name.clone()).collect();
            let lines = self.changes(names);
            if !lines.is_empty() {
                return Some(lines);
            }
        }
        loop {
            let news = tokio::select! {
                biased;
                // An error means the host is gone.
                _ = self.closing.wait_for(|closing| *closing) => return None,
                // The first is due at once: it says that the beginning is complete.
                _ = self.heartbeats.tick() => None,
                news = self.news.recv() => Some(news),
            };
            let changed = match news {
                None => return Some(self.heartbeat()),
                Some(Ok(name)) => self.rest(name).await,
                Some(Err(broadcast::error::RecvError::Lagged(_))) => self.all(),
                Some(Err(broadcast::error::RecvError::Closed)) => return None,
            };
            let lines = self.changes(changed);
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    /// The name and what comes in with it.
    async fn rest(&mut self, name: Arc<str>) -> BTreeSet<String> {
        time::sleep(TOGETHER).await;
        let mut names = BTreeSet::from([name.to_string()]);
        loop {
            match self.news.try_recv() {
                Ok(name) => names.insert(name.to_string()),
                Err(broadcast::error::TryRecvError::Lagged(_)) => return self.all(),
                Err(_) => return names,
            };
        }
    }

    /// Every name that may have news, those that are gone included.
    fn all(&self) -> BTreeSet<String> {
        let there = self.host.store.list(&self.prefix, "", usize::MAX);
        let there = there.iter().map(|sprite| sprite.record.name.clone());
        there.chain(self.seen.keys().cloned()).collect()
    }

    /// A line for each of these sprites that is not as the reader knows it.
    fn changes(&mut self, names: BTreeSet<String>) -> Bytes {
        let mut events = Vec::new();
        for name in names.into_iter().filter(|name| name.starts_with(&self.prefix)) {
            match self.host.store.get(&name) {
                Ok(sprite) => {
                    let state = sprite.state();
                    if self.seen.insert(name, state) != Some(state) {
                        events.push(sprite.event());
                    }
                }
                Err(_) => {
                    if self.seen.remove(&name).is_some() {
                        events.push(StateEvent {
                            name: Some(name),
                            status: Some("deleted".into()),
                            timestamp: Timestamp::now().to_string(),
                            ..StateEvent::default()
                        });
                    }
                }
            }
        }
        if events.is_empty() {
            return Bytes::new();
        }
        lines(events, &self.host.store.counts())
    }

    fn heartbeat(&self) -> Bytes {
        let event = StateEvent {
            kind: Some("heartbeat".into()),
            timestamp: Timestamp::now().to_string(),
            ..StateEvent::default()
        };
        lines(vec![event], &self.host.store.counts())
    }
}

fn lines(events: Vec<StateEvent>, counts: &Counts) -> Bytes {
    let mut lines = Vec::new();
    for mut event in events {
        event.org = counts.clone();
        if let Ok(mut line) = serde_json::to_vec(&event) {
            lines.append(&mut line);
            lines.push(b'\n');
        }
    }
    lines.into()
}
