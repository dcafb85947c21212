//! Webhooks as the providers send them: a message, its edit, its deletion.
//!
//! Invariant: what a provider says of one message has the same name of the message, and an id of the event for each thing said.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use roost_shared::event::Change;
use serde_json::json;

use crate::sender::{Channel, Message, SECRET};

/// The webhook that tells `edge` of a message, or what became of it.
pub fn webhook(message: &Message, change: Change, edge: &str) -> Option<http::Request<Bytes>> {
    match message.channel {
        Channel::Github => github(message, change, edge),
        Channel::Telegram => telegram(message, change, edge),
    }
}

fn github(message: &Message, change: Change, edge: &str) -> Option<http::Request<Bytes>> {
    let (number, conversation) = (message.number, message.conversation);
    let user = json!({"login": "ada", "id": 7, "type": "User"});
    let (action, event) = match change {
        Change::Said => ("created", 0),
        Change::Edited => ("edited", 1),
        Change::Deleted => ("deleted", 2),
    };
    let body = json!({
        "action": action,
        "sender": user,
        "repository": {"full_name": "octo/nest"},
        "issue": {"number": conversation + 1, "title": "An issue", "body": "", "user": user,
                  "author_association": "MEMBER", "labels": []},
        "comment": {"id": number + 1, "body": message.text(change), "user": user, "author_association": "MEMBER"},
    })
    .to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).ok()?;
    mac.update(body.as_bytes());
    http::Request::post(format!("http://{edge}/hooks/main/github"))
        .header("content-type", "application/json")
        .header("x-github-event", "issue_comment")
        .header(
            "x-github-delivery",
            format!("00000000-0000-4000-800{event}-{number:012}"),
        )
        .header(
            "x-hub-signature-256",
            format!("sha256={}", hex::encode(mac.finalize().into_bytes())),
        )
        .body(Bytes::from(body))
        .ok()
}

/// Telegram tells bots of no deletion.
fn telegram(message: &Message, change: Change, edge: &str) -> Option<http::Request<Bytes>> {
    let (number, conversation) = (message.number, message.conversation);
    let (kind, update) = match change {
        Change::Said => ("message", number + 1),
        Change::Edited => ("edited_message", number + 1_000_001),
        Change::Deleted => return None,
    };
    let mut body = json!({ "update_id": update });
    body[kind] = json!({
        "message_id": number + 1, "date": 1_767_225_600,
        "from": {"id": 7, "is_bot": false, "first_name": "Ada"},
        "chat": {"id": conversation + 1, "type": "private", "first_name": "Ada"},
        "text": message.text(change),
    });
    http::Request::post(format!("http://{edge}/hooks/main/telegram"))
        .header("content-type", "application/json")
        .header("x-telegram-bot-api-secret-token", SECRET)
        .body(Bytes::from(body.to_string()))
        .ok()
}
