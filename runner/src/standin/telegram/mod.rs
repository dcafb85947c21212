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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::recording::{Recording, Served};

/// Requests and messages that are kept; older ones are forgotten.
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
    /// It was sent, and the connection is cut before the answer.
    CutAfter,
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
    shared: Arc<Shared>,
    served: Served,
}

#[derive(Debug)]
struct Shared {
    token: String,
    sent: Recording<SentMessage>,
    requests: Recording<(String, Value)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<TelegramFault>,
    webhook: Option<Value>,
    pending: u64,
    /// When an update could last not be delivered, in seconds since 1970, and why.
    last_error: Option<(u64, String)>,
}

impl TelegramServer {
    /// Starts one on a free port of 127.0.0.1, for the bot with this token.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(bot_token: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            token: bot_token.to_owned(),
            sent: Recording::of_the_last(KEPT),
            requests: Recording::of_the_last(KEPT),
            state: Mutex::default(),
        });
        let served = Served::start("telegram", routes::router(shared.clone())).await?;
        Ok(Self { shared, served })
    }

    /// `http://127.0.0.1:PORT`: the Bot API's address.
    pub fn url(&self) -> String {
        self.served.url()
    }

    /// The messages that were sent, oldest first.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.shared.sent.all()
    }

    /// The methods and bodies of the requests so far, refused ones included, oldest first.
    pub fn requests(&self) -> Vec<(String, Value)> {
        self.shared.requests.all()
    }

    /// What `setWebhook` was last called with.
    pub fn webhook(&self) -> Option<Value> {
        self.shared.state().webhook.clone()
    }

    /// So many updates could not be delivered and wait, the last one for this reason.
    pub fn set_pending(&self, updates: u64, error: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut state = self.shared.state();
        state.pending = updates;
        state.last_error = Some((now.as_secs(), error.to_owned()));
    }

    /// Somebody else who has the bot's token lets updates go elsewhere.
    pub fn take_webhook(&self, url: &str) {
        self.shared.state().webhook = Some(json!({ "url": url }));
    }

    /// The next message fails like this.
    pub fn fail_next(&self, fault: TelegramFault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Waits until `found` finds what it looks for in what was sent.
    pub async fn until<T>(&self, found: impl FnMut(&[SentMessage]) -> Option<T>) -> T {
        self.shared.sent.until(found).await
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, message: SentMessage) -> SentMessage {
        let id = |before: usize| 1_001 + i64::try_from(before).unwrap_or(i64::MAX - 1_001);
        let numbered = |before| SentMessage {
            id: id(before),
            ..message
        };
        self.sent.push_unless(|_| None, numbered).0
    }
}
