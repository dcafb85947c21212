//! The senders of webhooks: GitHub sends once and does not look back, Telegram sends until it is answered 2xx, and both send
//! some of them again, as happens.
//!
//! Invariant: what is written down as accepted was answered 2xx: that is what the promise is about.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use roost_edge::ports::HttpClient;
use serde_json::json;

use crate::{
    chance::{Chance, Luck},
    network::Network,
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
}

impl Message {
    /// Its text, by which it is found again.
    pub fn text(&self) -> String {
        format!("please look at m{}", self.number)
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

    fn accept(&self, number: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = all.iter_mut().find(|message| message.number == number) {
            message.accepted = true;
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
        };
        sent.add(message.clone());
        let chance = Chance::new(seed, &format!("sender/{number}"));
        let delivery = deliver(message, chance, network.clone(), sent.clone());
        under_way.push(tokio::task::spawn_local(delivery));
    }
    join_all(under_way).await;
}

async fn deliver(message: Message, mut chance: Chance, network: Network, sent: Sent) {
    let tries = match message.channel {
        Channel::Github => 1,
        Channel::Telegram => TRIES,
    };
    for _ in 0..tries {
        let edge = *chance.one_of(&EDGES);
        if once(&message, edge, &network).await == Luck::Yes {
            sent.accept(message.number);
            break;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    if chance.in_hundred(25) == Luck::Yes {
        // Twice at once, a little later, at both edges.
        tokio::time::sleep(chance.between(0, 3_000)).await;
        let again = EDGES.map(|edge| once(&message, edge, &network));
        if join_all(again).await.contains(&Luck::Yes) {
            sent.accept(message.number);
        }
    }
}

/// Whether it was answered 2xx.
async fn once(message: &Message, edge: &str, network: &Network) -> Luck {
    let Some(request) = request(message, edge) else {
        return Luck::No;
    };
    match network.send(request).await {
        Ok(answer) if answer.status().is_success() => Luck::Yes,
        _ => Luck::No,
    }
}

fn request(message: &Message, edge: &str) -> Option<http::Request<Bytes>> {
    let (number, conversation) = (message.number, message.conversation);
    let user = json!({"login": "ada", "id": 7, "type": "User"});
    match message.channel {
        Channel::Github => {
            let body = json!({
                "action": "created",
                "sender": user,
                "repository": {"full_name": "octo/nest"},
                "issue": {"number": conversation + 1, "title": "An issue", "body": "", "user": user,
                          "author_association": "MEMBER", "labels": []},
                "comment": {"id": number + 1, "body": message.text(), "user": user, "author_association": "MEMBER"},
            })
            .to_string();
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).ok()?;
            mac.update(body.as_bytes());
            http::Request::post(format!("http://{edge}/hooks/main/github"))
                .header("content-type", "application/json")
                .header("x-github-event", "issue_comment")
                .header(
                    "x-github-delivery",
                    format!("00000000-0000-4000-8000-{number:012}"),
                )
                .header(
                    "x-hub-signature-256",
                    format!("sha256={}", hex::encode(mac.finalize().into_bytes())),
                )
                .body(Bytes::from(body))
                .ok()
        }
        Channel::Telegram => {
            let body = json!({
                "update_id": number + 1,
                "message": {
                    "message_id": number + 1, "date": 1_767_225_600,
                    "from": {"id": 7, "is_bot": false, "first_name": "Ada"},
                    "chat": {"id": conversation + 1, "type": "private", "first_name": "Ada"},
                    "text": message.text(),
                },
            })
            .to_string();
            http::Request::post(format!("http://{edge}/hooks/main/telegram"))
                .header("content-type", "application/json")
                .header("x-telegram-bot-api-secret-token", SECRET)
                .body(Bytes::from(body))
                .ok()
        }
    }
}
