//! When handlers began: each system tells the number of the event that its handler, or its model, was given.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    sync::watch,
};

use crate::bench::model::{Asked, QuickModel, Says};

/// What has arrived; cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Arrivals {
    seen: Arc<Mutex<BTreeMap<u64, Instant>>>,
    count: watch::Sender<usize>,
    address: String,
}

impl Arrivals {
    /// Listens for peers' handlers, which send one line each over kept connections.
    pub(in crate::bench) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let arrivals = Self {
            seen: Arc::default(),
            count: watch::Sender::new(0),
            address: listener.local_addr().expect("an address").to_string(),
        };
        let told = arrivals.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stream).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if let Some(id) = number(&line) {
                            told.note(id, Instant::now());
                        }
                    }
                });
            }
        });
        arrivals
    }

    /// Where handlers report.
    pub(in crate::bench) fn address(&self) -> String {
        self.address.clone()
    }

    /// A model that says one word and notes which event it was asked about.
    pub(in crate::bench) async fn model(&self) -> QuickModel {
        let told = self.clone();
        QuickModel::start(move |asked| {
            if let Some(id) = asked_about(asked) {
                told.note(id, asked.at);
            }
            Says::Done
        })
        .await
    }

    fn note(&self, id: u64, at: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(id).or_insert(at);
        let count = seen.len();
        drop(seen);
        self.count.send_replace(count);
    }

    /// The share of these events that has arrived when all have, or the time is up.
    pub(in crate::bench) async fn share_of(&self, ids: Range<u64>, within: Duration) -> f64 {
        let all = async {
            for id in ids.clone() {
                self.of(id).await;
            }
        };
        // What is missing after that is seen in the share.
        let _ = tokio::time::timeout(within, all).await;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.range(ids.clone()).count() as f64 / (ids.end - ids.start).max(1) as f64
    }

    /// When event `id` arrived, once it has.
    pub(in crate::bench) async fn of(&self, id: u64) -> Instant {
        let mut count = self.count.subscribe();
        loop {
            let seen = self
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&id)
                .copied();
            if let Some(at) = seen {
                return at;
            }
            // The sender lives as long as `self`, so this can't fail.
            let _ = count.changed().await;
        }
    }
}

/// The event's number in what a handler reports: GitHub's delivery id as the fixtures make it, or the comment's id.
fn number(line: &str) -> Option<u64> {
    match line.rsplit_once('-') {
        Some((_, last)) => u64::from_str_radix(last, 16).ok(),
        None => line.parse().ok(),
    }
}

/// The event's number in the text of the conversation, `event-17`.
fn asked_about(asked: &Asked<'_>) -> Option<u64> {
    const NAME: &[u8] = b"event-";
    let rest = &asked.body[memmem::rfind(asked.body, NAME)? + NAME.len()..];
    let digits = rest.split(|byte| !byte.is_ascii_digit()).next()?;
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn both_names_of_an_event_are_its_number() {
        assert_eq!(number("00000000-0000-4000-8000-0000000f4240"), Some(1_000_000));
        assert_eq!(number("17"), Some(17));
        assert_eq!(number(""), None);
    }
}
