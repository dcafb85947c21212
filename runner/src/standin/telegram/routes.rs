//! The stand-in's methods.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SentMessage, Shared, TelegramFault, check};
use crate::standin::recording::cut;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/{bot}/{method}", any(call))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "Not Found", json!(null)) })
        .with_state(shared)
}

#[derive(Deserialize)]
struct Message {
    chat_id: i64,
    message_thread_id: Option<i64>,
    reply_parameters: Option<ReplyParameters>,
    text: String,
    #[serde(default)]
    entities: Vec<Value>,
}

#[derive(Deserialize)]
struct ReplyParameters {
    message_id: i64,
}

#[derive(Deserialize)]
struct Action {
    chat_id: i64,
    action: String,
}

async fn call(
    State(shared): State<Arc<Shared>>,
    Path((bot, method)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(json!({}));
    shared.requests.push((method.clone(), body.clone()));
    if bot.strip_prefix("bot") != Some(&shared.token) {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", json!(null));
    }
    match method.to_ascii_lowercase().as_str() {
        "getme" => accepted(&json!({
            "id": 7001, "is_bot": true, "first_name": "Roost", "username": "roost_bot", "can_join_groups": true,
        })),
        "sendmessage" => send_message(&shared, body),
        "sendchataction" => match Action::deserialize(body) {
            Ok(Action { chat_id, action }) if chat_id != 0 && action == "typing" => accepted(&json!(true)),
            Ok(_) => refusal(
                StatusCode::BAD_REQUEST,
                "Bad Request: wrong parameter action in request",
                json!(null),
            ),
            Err(_) => refusal(
                StatusCode::BAD_REQUEST,
                "Bad Request: chat_id is empty",
                json!(null),
            ),
        },
        "setwebhook" => {
            shared.state().webhook = Some(body);
            accepted(&json!(true))
        }
        "getwebhookinfo" => accepted(&webhook_info(&shared)),
        "deletewebhook" => {
            shared.state().webhook = None;
            accepted(&json!(true))
        }
        _ => refusal(StatusCode::NOT_FOUND, "Not Found: method not found", json!(null)),
    }
}

fn webhook_info(shared: &Shared) -> Value {
    let state = shared.state();
    let url = state.webhook.as_ref().map_or(json!(""), |set| set["url"].clone());
    let mut info = json!({
        "url": url, "has_custom_certificate": false, "pending_update_count": state.pending, "max_connections": 40,
    });
    if let Some((at, why)) = &state.last_error {
        info["last_error_date"] = json!(at);
        info["last_error_message"] = json!(why);
    }
    info
}

fn send_message(shared: &Shared, body: Value) -> Response {
    let Ok(message) = Message::deserialize(body) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "Bad Request: chat_id or text is empty",
            json!(null),
        );
    };
    if let Some(words) = check::refusal(&message.text, &message.entities) {
        return refusal(StatusCode::BAD_REQUEST, &words, json!(null));
    }
    let sent = SentMessage {
        id: 0,
        chat: message.chat_id,
        topic: message.message_thread_id,
        reply_to: message.reply_parameters.map(|parameters| parameters.message_id),
        text: message.text,
        entities: message.entities,
    };
    let fault = shared.state().faults.pop_front();
    match fault {
        Some(TelegramFault::TooMany { retry_after }) => {
            let seconds = retry_after.as_secs();
            let words = format!("Too Many Requests: retry after {seconds}");
            refusal(
                StatusCode::TOO_MANY_REQUESTS,
                &words,
                json!({"retry_after": seconds}),
            )
        }
        Some(TelegramFault::Blocked) => refusal(
            StatusCode::FORBIDDEN,
            "Forbidden: bot was blocked by the user",
            json!(null),
        ),
        Some(TelegramFault::Migrated { chat }) => refusal(
            StatusCode::BAD_REQUEST,
            "Bad Request: group chat was upgraded to a supergroup chat",
            json!({"migrate_to_chat_id": chat}),
        ),
        Some(TelegramFault::ErrorBefore) => broken(),
        Some(TelegramFault::ErrorAfter) => {
            shared.keep(sent);
            broken()
        }
        Some(TelegramFault::CutAfter) => {
            shared.keep(sent);
            cut()
        }
        None => {
            let sent = shared.keep(sent);
            accepted(&json!({
                "message_id": sent.id, "date": 1_763_690_000, "chat": {"id": sent.chat, "type": "private"},
                "from": {"id": 7001, "is_bot": true, "first_name": "Roost"}, "text": sent.text,
            }))
        }
    }
}

fn broken() -> Response {
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Internal Server Error",
        json!(null),
    )
}

fn accepted(result: &Value) -> Response {
    Json(json!({"ok": true, "result": result})).into_response()
}

/// Telegram's way to say no.
fn refusal(status: StatusCode, description: &str, parameters: Value) -> Response {
    let mut body = json!({"ok": false, "error_code": status.as_u16(), "description": description});
    if !parameters.is_null() {
        body["parameters"] = parameters;
    }
    (status, Json(body)).into_response()
}
