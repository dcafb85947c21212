//! A stand-in for Telegram's [Bot API](https://core.telegram.org/bots/api): the methods Roost calls. Everything it is
//! asked is recorded.
//!
//! Invariant: it refuses what Telegram refuses (a wrong token, a text that is empty or too long, entities that do not lie
//! in the text), with Telegram's statuses and error bodies, so that what passes here passes there.

mod check;
mod routes;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Requests kept; older ones are forgotten.
const KEPT: usize = 100_000;

/// How the next message fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelegramFault {
    /// 429, with `parameters.retry_after`.
    TooMany {
        /// How long to wait; whole seconds.
        retry_after: Duration,
    },
    /// 403: a person blocked the bot.
    Blocked,
    /// 400: the group became a supergroup with this number.
    Migrated {
        /// The new chat.
        chat: i64,
    },
    /// 500, and nothing was sent.
    ErrorBefore,
    /// 500, although it was sent.
    ErrorAfter,
}

/// A message that was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct SentMessage {
    /// Its id.
    pub id: i64,
    /// The chat.
    pub chat: i64,
    /// The forum topic.
    pub topic: Option<i64>,
    /// The message it replies to.
    pub reply_to: Option<i64>,
    /// Its text.
    pub text: String,
    /// Its entities, as they were sent.
    pub entities: Vec<Value>,
}

/// A running stand-in; ends when dropped.
#[derive(Debug)]
pub struct TelegramServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    token: String,
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    sent: Vec<SentMessage>,
    requests: VecDeque<(String, Value)>,
    faults: VecDeque<TelegramFault>,
    webhook: Option<Value>,
}

impl TelegramServer {
    /// Starts one on a free port of 127.0.0.1, for the bot with this token.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(bot_token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            token: bot_token.to_owned(),
            state: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let router = routes::router(shared.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the Telegram stand-in stopped");
            }
        });
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// `http://127.0.0.1:PORT`: the Bot API's address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The messages that were sent, oldest first.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.shared.state().sent.clone()
    }

    /// The methods and bodies of the requests so far, refused ones included, oldest first.
    pub fn requests(&self) -> Vec<(String, Value)> {
        self.shared.state().requests.iter().cloned().collect()
    }

    /// What `setWebhook` was last called with.
    pub fn webhook(&self) -> Option<Value> {
        self.shared.state().webhook.clone()
    }

    /// The next message fails like this.
    pub fn fail_next(&self, fault: TelegramFault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Waits until `found` finds what it looks for in what was sent.
    pub async fn until<T>(&self, mut found: impl FnMut(&[SentMessage]) -> Option<T>) -> T {
        let mut count = self.shared.count.subscribe();
        loop {
            if let Some(found) = found(&self.shared.state().sent) {
                return found;
            }
            // The sender lives as long as `self`, so this can't fail.
            let _ = count.changed().await;
        }
    }
}

impl Drop for TelegramServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, method: &str, body: Value) {
        let mut state = self.state();
        if state.requests.len() == KEPT {
            state.requests.pop_front();
        }
        state.requests.push_back((method.to_owned(), body));
    }

    fn keep(&self, message: SentMessage) -> SentMessage {
        let mut state = self.state();
        let id = 1_001 + i64::try_from(state.sent.len()).unwrap_or(i64::MAX - 1_001);
        let message = SentMessage { id, ..message };
        state.sent.push(message.clone());
        drop(state);
        self.count.send_modify(|count| *count += 1);
        message
    }
}
