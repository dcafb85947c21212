//! Replies on Telegram: messages with entities, and "typing…" as the sign of receipt.
//!
//! Invariant: a message whose fate is not known is never simply sent again, for Telegram can't be asked what is in a chat;
//! and no reason names the bot's token, which is part of every address.

pub(super) mod format;
pub(crate) mod webhook;

use std::time::Duration;

use http::StatusCode;
use roost_shared::{effect::Effect, work::ReplyTo};
use serde::Deserialize;
use serde_json::{Value, json};

use self::format::format;
use crate::{
    integration::TelegramSettings,
    outbox::{
        call::{self, Twice},
        channel::{Outcome, Sending, Sight, elsewhere},
    },
};

/// What Telegram is given to breathe when it limits without saying how long.
const LIMITED: Duration = Duration::from_secs(5);

/// What every answer of the Bot API looks like.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ok: bool,
    result: Value,
    description: String,
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// Sends one effect.
pub(super) async fn send(
    sending: &Sending<'_>,
    settings: &TelegramSettings,
    bot_token: &str,
    effect: &Effect,
) -> Outcome {
    let Some((method, mut body, twice)) = plan(effect) else {
        return elsewhere("telegram");
    };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b":_-".contains(&b);
    if bot_token.is_empty() || !bot_token.bytes().all(is_token) {
        return Outcome::Failed {
            code: "credential_missing",
            reason: "the integration's bot token is no token: enter the one @BotFather gave you".to_owned(),
        };
    }
    let url = format!(
        "{}/bot{bot_token}/{method}",
        settings.api_url.trim_end_matches('/')
    );
    let mut outcome = attempt(sending, &url, bot_token, &body, twice).await;
    if let Err(new_chat) = outcome {
        // A group that became a supergroup has a new number, and its messages have, too.
        body["chat_id"] = json!(new_chat);
        if let Some(fields) = body.as_object_mut() {
            fields.remove("reply_parameters");
        }
        outcome = attempt(sending, &url, bot_token, &body, twice).await;
    }
    outcome.unwrap_or_else(|chat| refused(400, &format!("the group moved to {chat} and again from there")))
}

/// What can be seen of an effect: a bot can't read what is in a chat, not even what it wrote itself.
pub(super) fn look(effect: &Effect) -> Sight {
    match effect {
        Effect::Acknowledge { .. } => Sight::Harmless,
        Effect::Reply { .. } => Sight::Blind {
            reason: "Telegram lets no bot read what is in a chat: look there, then say that it arrived, \
                     send it again or drop it"
                .to_owned(),
        },
    }
}

/// The method, its body, and what doing it twice would do.
fn plan(effect: &Effect) -> Option<(&'static str, Value, Twice)> {
    let (Effect::Acknowledge { to } | Effect::Reply { to, .. }) = effect;
    let ReplyTo::Telegram { chat, topic, message } = to else {
        return None;
    };
    let mut body = json!({"chat_id": chat});
    if let Some(topic) = topic {
        body["message_thread_id"] = json!(topic);
    }
    match effect {
        Effect::Acknowledge { .. } => {
            body["action"] = json!("typing");
            Some(("sendChatAction", body, Twice::IsOnce))
        }
        Effect::Reply { text, .. } => {
            let formatted = format(text);
            body["text"] = json!(formatted.text);
            body["entities"] = json!(formatted.entities);
            body["reply_parameters"] = json!({"message_id": message, "allow_sending_without_reply": true});
            body["link_preview_options"] = json!({"is_disabled": true});
            Some(("sendMessage", body, Twice::Shows))
        }
    }
}

/// One call; an `Err` is the chat's new number.
async fn attempt(
    sending: &Sending<'_>,
    url: &str,
    bot_token: &str,
    body: &Value,
    twice: Twice,
) -> Result<Outcome, i64> {
    let request = match call::post(url, body.to_string().into_bytes()) {
        Ok(request) => request,
        Err(outcome) => return Ok(outcome),
    };
    let response = match call::call(sending.ports, request, bot_token).await {
        Ok(response) => response,
        Err(error) => return Ok(twice.unanswered(error)),
    };
    let status = response.status();
    let answer: Answer = serde_json::from_slice(response.body()).unwrap_or_default();
    if status.is_success() && answer.ok {
        let external_id = answer.result.get("message_id").map(Value::to_string);
        return Ok(Outcome::Sent { external_id });
    }
    if let Some(chat) = answer.parameters.migrate_to_chat_id {
        return Err(chat);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let said = answer.parameters.retry_after.map(call::bounded);
        let after = said
            .or_else(|| call::retry_after(response.headers()))
            .unwrap_or(LIMITED);
        return Ok(Outcome::Retry {
            after: Some(after),
            reason: format!("Telegram asks to wait {} s: too many messages", after.as_secs()),
        });
    }
    if status.is_server_error() || status.is_success() {
        return Ok(twice.in_doubt(format!("Telegram is in trouble ({status})")));
    }
    Ok(refused(status.as_u16(), &answer.description))
}

/// A refusal for good, in words that say what to do.
fn refused(status: u16, words: &str) -> Outcome {
    let (code, advice) = match status {
        401 | 404 => (
            "channel_unauthorized",
            "the bot token is wrong or was revoked: enter the one @BotFather gives you",
        ),
        403 => (
            "channel_forbidden",
            "the bot was blocked, or removed from the chat, or may not write there: let it in again",
        ),
        400 if words.contains("not found") || words.contains("deleted") => {
            ("channel_target_gone", "the chat, topic or message is gone")
        }
        _ => ("channel_refused", "this is not accepted as it is"),
    };
    Outcome::Failed {
        code,
        reason: format!("Telegram refused ({status}, {words:?}): {advice}"),
    }
}
