//! The channels: GitHub's comments, which can be read back, and Telegram's messages, which can't.
//!
//! Invariant: what was said here stays said, whatever becomes of the answer; it lies outside of the hosts, as the truth that the
//! end is measured by. Now and then a call fails before it is done, and now and then after.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{any, get, post},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::chance::{Chance, Luck, SharedChance};

/// Of a hundred calls, so many fail before, and as many after they are done.
const FAILING: usize = 6;
/// The longest a channel takes, in milliseconds.
const SLOWEST: u64 = 1_500;

/// What was said in both channels. Clones are the same channels.
#[derive(Clone)]
pub struct Channels {
    said: Arc<Mutex<Vec<Said>>>,
    chance: SharedChance,
}

/// Something an edge said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `github/NUMBER` or `telegram/CHAT`.
    pub place: String,
    /// The text.
    pub text: String,
}

type Answer = (StatusCode, Json<Value>);

impl Channels {
    /// Silent channels of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            said: Arc::default(),
            chance: SharedChance::new(Chance::new(seed, "channels")),
        }
    }

    /// All that was said.
    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// GitHub's API.
    pub fn github(&self) -> Router {
        Router::new()
            .route(
                "/repos/octo/nest/issues/{number}/comments",
                get(comments).post(comment),
            )
            .route(
                "/repos/octo/nest/issues/comments/{id}/reactions",
                post(async || (StatusCode::CREATED, Json(json!({"id": 1})))),
            )
            .fallback(any(async || (StatusCode::NOT_FOUND, Json(json!({})))))
            .with_state(self.clone())
    }

    /// Telegram's Bot API.
    pub fn telegram(&self) -> Router {
        Router::new()
            .route("/bot1:x/sendMessage", post(message))
            .fallback(any(async || Json(json!({"ok": true, "result": {}}))))
            .with_state(self.clone())
    }

    /// Says it, perhaps slowly, perhaps in vain, perhaps without a word about it.
    async fn say(&self, place: String, text: String) -> Result<usize, Answer> {
        let (pause, before, after) = self.chance.draw(|chance| {
            (
                chance.between(0, SLOWEST),
                chance.in_hundred(FAILING),
                chance.in_hundred(FAILING),
            )
        });
        let trouble = || (StatusCode::BAD_GATEWAY, Json(json!({"message": "try again"})));
        tokio::time::sleep(pause / 2).await;
        if before == Luck::Yes {
            return Err(trouble());
        }
        let id = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push(Said { place, text });
            said.len()
        };
        tokio::time::sleep(pause / 2).await;
        match after {
            Luck::Yes => Err(trouble()),
            Luck::No => Ok(id),
        }
    }
}

async fn comment(
    State(channels): State<Channels>,
    Path(number): Path<u64>,
    Json(body): Json<Value>,
) -> Result<Answer, Answer> {
    let text = body["body"].as_str().unwrap_or_default().to_owned();
    let id = channels.say(format!("github/{number}"), text).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn comments(State(channels): State<Channels>, Path(number): Path<u64>) -> Json<Value> {
    let place = format!("github/{number}");
    let said = channels.said();
    let here = said.iter().enumerate().filter(|(_, said)| said.place == place);
    let list = here.map(|(index, said)| json!({"id": index + 1, "body": said.text}));
    Json(list.collect())
}

async fn message(State(channels): State<Channels>, Json(body): Json<Value>) -> Result<Answer, Answer> {
    let text = body["text"].as_str().unwrap_or_default().to_owned();
    let id = channels
        .say(format!("telegram/{}", body["chat_id"]), text)
        .await?;
    Ok((
        StatusCode::OK,
        Json(json!({"ok": true, "result": {"message_id": id}})),
    ))
}
