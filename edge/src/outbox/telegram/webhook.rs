//! Where a bot's updates go: asking Telegram, and telling it.
//! [Bot API](https://core.telegram.org/bots/api#getwebhookinfo).

use http::StatusCode;
use roost_shared::UnixMillis;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, LIMITED, refused};
use crate::{
    integration::TelegramSettings,
    outbox::{
        call::{self, Twice},
        channel::Outcome,
    },
    ports::Ports,
};

/// Where updates go, and how that goes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WebhookInfo {
    /// Empty where there is no webhook.
    pub(crate) url: String,
    /// Updates Telegram still has to deliver.
    pub(crate) pending_update_count: u64,
    last_error_date: Option<i64>,
    /// What the last failed delivery came to.
    pub(crate) last_error_message: Option<String>,
}

impl WebhookInfo {
    /// When the last delivery failed.
    pub(crate) fn last_error_at(&self) -> Option<UnixMillis> {
        self.last_error_date
            .map(|seconds| UnixMillis(seconds.saturating_mul(1000)))
    }
}

/// Asks where the bot's updates go.
pub(crate) async fn info(
    ports: &Ports,
    settings: &TelegramSettings,
    bot_token: &str,
) -> Result<WebhookInfo, Outcome> {
    let result = method(ports, settings, bot_token, "getWebhookInfo", &json!({})).await?;
    serde_json::from_value(result).map_err(|_| Outcome::Retry {
        after: None,
        reason: "Telegram's answer about the webhook makes no sense".to_owned(),
    })
}

/// Lets the bot's updates go to `url`. Which kinds of them stays as it was, and none that waits is dropped.
pub(crate) async fn set(
    ports: &Ports,
    settings: &TelegramSettings,
    bot_token: &str,
    (url, secret_token): (&str, &str),
) -> Result<(), Outcome> {
    let body = json!({"url": url, "secret_token": secret_token});
    method(ports, settings, bot_token, "setWebhook", &body)
        .await
        .map(drop)
}

async fn method(
    ports: &Ports,
    settings: &TelegramSettings,
    bot_token: &str,
    name: &str,
    body: &Value,
) -> Result<Value, Outcome> {
    let api = settings.api_url.trim_end_matches('/');
    let request = call::post(
        &format!("{api}/bot{bot_token}/{name}"),
        body.to_string().into_bytes(),
    )?;
    let response = call::call(ports, request, bot_token)
        .await
        .map_err(|error| Twice::IsOnce.unanswered(error))?;
    let status = response.status();
    let answer: Answer = serde_json::from_slice(response.body()).unwrap_or_default();
    if status.is_success() && answer.ok {
        return Ok(answer.result);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let after = answer.parameters.retry_after.map_or(LIMITED, call::bounded);
        return Err(Outcome::Retry {
            after: Some(after),
            reason: format!("Telegram asks to wait {} s", after.as_secs()),
        });
    }
    if status.is_server_error() || status.is_success() {
        return Err(Outcome::Retry {
            after: None,
            reason: format!("Telegram is in trouble ({status})"),
        });
    }
    Err(refused(status.as_u16(), &answer.description))
}
