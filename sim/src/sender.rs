//! The senders of webhooks: GitHub sends once and does not look back, Telegram sends until it is answered 2xx, and both send
//! some of them again, as happens. People edit and delete some of their messages.
//!
//! Invariant: what is written down as accepted was answered 2xx: that is what the promise is about.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use roost_edge::ports::HttpClient;
use roost_shared::{RunId, event::Change};
use serde::Deserialize;

use crate::{
    chance::{Chance, Luck},
    network::Network,
    payload::webhook,
    trace::Trace,
};

/// Signs GitHub's webhooks, and stands in Telegram's.
pub const SECRET: &str = "a-secret-of-the-simulation";
/// The edges.
pub const EDGES: [&str; 2] = ["edge-0", "edge-1"];
/// How long a provider waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Telegram's tries at most.
const TRIES: usize = 40;
/// Of a hundred messages, so many are edited, and on GitHub as many deleted.
const CHANGED: usize = 20;
/// How long after a message it is changed at the latest, in milliseconds.
const LATEST: u64 = 8_000;

/// By which channel a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// GitHub.
    Github,
    /// Telegram.
    Telegram,
}

/// One message and whether it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number, also in its text.
    pub number: u64,
    /// Its channel.
    pub channel: Channel,
    /// Its issue or chat; several messages may share one.
    pub conversation: u64,
    /// Whether any of its requests was answered 2xx.
    pub accepted: bool,
    /// What became of it.
    pub changed: Option<Changed>,
}

/// What became of a message in its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Edited or deleted.
    pub change: Change,
    /// The runs that, by a 2xx answer, are told of it.
    pub told: Vec<RunId>,
}

impl Message {
    /// Its text after a change, by which it is found again.
    pub fn text(&self, change: Change) -> String {
        match change {
            Change::Said | Change::Deleted => format!("please look at m{}", self.number),
            Change::Edited => format!("please look closely at m{}", self.number),
        }
    }

    /// Whether people did this to it.
    pub fn is(&self, change: Change) -> Luck {
        match &self.changed {
            Some(changed) if changed.change == change => Luck::Yes,
            _ => Luck::No,
        }
    }
}

/// What was sent so far. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Mutex<Vec<Message>>>);

impl Sent {
    /// All messages.
    pub fn all(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, message: Message) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
    }

    fn amend(&self, number: u64, amend: impl FnOnce(&mut Message)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = all.iter_mut().find(|message| message.number == number) {
            amend(message);
        }
    }
}

/// Sends `count` messages within `span` and waits for the last answers.
pub async fn send(seed: u64, count: u64, span: Duration, sent: Sent, trace: Trace) {
    let mut chance = Chance::new(seed, "sender");
    let network = Network::new("sender", PATIENCE, &trace);
    let longest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX) / count.max(1) * 2;
    let mut under_way = Vec::new();
    for number in 0..count {
        tokio::time::sleep(chance.between(0, longest)).await;
        let channel = *chance.one_of(&[Channel::Github, Channel::Github, Channel::Telegram]);
        let message = Message {
            number,
            channel,
            // Neighbours often meet in one conversation.
            conversation: number / 3 * 3 + u64::try_from(chance.below(3)).unwrap_or_default(),
            accepted: false,
            changed: None,
        };
        sent.add(message.clone());
        let provider = Provider {
            message,
            chance: Chance::new(seed, &format!("sender/{number}")),
            network: network.clone(),
            sent: sent.clone(),
        };
        under_way.push(tokio::task::spawn_local(provider.tell()));
    }
    join_all(under_way).await;
}

/// One message's provider.
struct Provider {
    message: Message,
    chance: Chance,
    network: Network,
    sent: Sent,
}

/// What an edge says to a webhook that it takes.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    runs: Vec<RunId>,
}

impl Provider {
    /// Tells of the message, perhaps again, and of what becomes of it.
    async fn tell(mut self) {
        self.deliver(Change::Said).await;
        if self.chance.in_hundred(25) == Luck::Yes {
            // Twice at once, a little later, at both edges.
            tokio::time::sleep(self.chance.between(0, 3_000)).await;
            let again = EDGES.map(|edge| self.once(Change::Said, edge));
            for answer in join_all(again).await {
                self.heard(Change::Said, answer);
            }
        }
        let change = match self.chance.below(100) {
            lot if lot < CHANGED => Change::Edited,
            lot if lot < 2 * CHANGED && self.message.channel == Channel::Github => Change::Deleted,
            _ => return,
        };
        tokio::time::sleep(self.chance.between(0, LATEST)).await;
        self.sent.amend(self.message.number, |message| {
            let told = Vec::new();
            message.changed = Some(Changed { change, told });
        });
        self.deliver(change).await;
    }

    async fn deliver(&mut self, change: Change) {
        let tries = match self.message.channel {
            Channel::Github => 1,
            Channel::Telegram => TRIES,
        };
        for _ in 0..tries {
            let edge = *self.chance.one_of(&EDGES);
            let answer = self.once(change, edge).await;
            let is_through = answer.is_some();
            self.heard(change, answer);
            if is_through {
                break;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    /// Writes down an answer.
    fn heard(&self, change: Change, answer: Option<Answer>) {
        let Some(answer) = answer else { return };
        self.sent.amend(self.message.number, |message| match change {
            Change::Said => message.accepted = true,
            Change::Edited | Change::Deleted => {
                if let Some(changed) = &mut message.changed {
                    changed.told.extend(answer.runs);
                }
            }
        });
    }

    /// The answer, if it was 2xx.
    async fn once(&self, change: Change, edge: &str) -> Option<Answer> {
        let request = webhook(&self.message, change, edge)?;
        let answer = self.network.send(request).await.ok()?;
        let is_taken = answer.status().is_success();
        is_taken.then(|| serde_json::from_slice(answer.body()).unwrap_or_default())
    }
}
