//! Webhooks of anything that can sign them; `docs/reference/generic-webhook.md` tells senders what is understood.
//!
//! Invariant: any text is understood. JSON is read by simple conventions; what has no text in it is ignored with a
//! reason.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::header::CONTENT_TYPE;
use roost_shared::work::{Actor, Conversation, Quote, ReplyTo, Trust};
use serde_json::{Map, Value};

use crate::{
    ingress::{
        channel::{Heard, Rejection, Request, Verdict, Verified},
        signature::{MAX_AGE_S, fingerprint, generic_key, is_signed},
        text::{LIST_LIMIT, QUOTE_LIMIT, TEXT_LIMIT, cut, cut_name, mentions_in_plain, web_address},
    },
    integration::{DigestEncoding, GenericSettings, SignatureScheme},
};

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// The most signatures that are looked at; Standard Webhooks sends one per secret in rotation.
const MAX_SIGNATURES: usize = 16;

/// Proves the signature by the integration's scheme, with any of its secrets.
///
/// # Errors
/// See [`Rejection`].
pub fn verify(
    settings: &GenericSettings,
    signing: &[String],
    request: Request<'_>,
) -> Result<Verified, Rejection> {
    if signing.is_empty() {
        return Err(Rejection::Secret("there is none"));
    }
    let keys = signing
        .iter()
        .map(|secret| generic_key(secret))
        .collect::<Result<Vec<_>, _>>()?;
    match &settings.signature {
        SignatureScheme::StandardWebhooks => verify_standard(&keys, request)?,
        SignatureScheme::Hmac {
            header,
            prefix,
            encoding,
            ..
        } => {
            let signature = request
                .headers
                .get(header.as_str())
                .ok_or_else(|| missing(header))?;
            let digest = signature
                .to_str()
                .ok()
                .and_then(|text| text.trim().strip_prefix(prefix.as_str()))
                .and_then(|text| match encoding {
                    DigestEncoding::Hex => hex::decode(text).ok(),
                    DigestEncoding::Base64 => STANDARD.decode(text).ok(),
                })
                .ok_or(Rejection::SignatureWrong)?;
            if !keys.iter().any(|key| is_signed(key, &[request.body], &digest)) {
                return Err(Rejection::SignatureWrong);
            }
        }
    }
    Ok(Verified {
        dedupe_key: event_id(settings, request),
    })
}

/// [Standard Webhooks](https://www.standardwebhooks.com) 1.0, symmetric: any signature with any key is enough.
fn verify_standard(keys: &[Vec<u8>], request: Request<'_>) -> Result<(), Rejection> {
    let signatures = request.headers.get(SIGNATURE).ok_or_else(|| missing(SIGNATURE))?;
    let id = request.text_header(ID).ok_or(Rejection::Header(ID))?;
    let timestamp = request
        .text_header(TIMESTAMP)
        .ok_or(Rejection::Header(TIMESTAMP))?;
    let signed_at: i64 = timestamp.parse().map_err(|_| Rejection::Header(TIMESTAMP))?;
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", request.body];
    let signatures = signatures.to_str().map_err(|_| Rejection::SignatureWrong)?;
    let is_proved = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .take(MAX_SIGNATURES)
        .any(|digest| keys.iter().any(|key| is_signed(key, &content, &digest)));
    if !is_proved {
        return Err(Rejection::SignatureWrong);
    }
    let age = signed_at.abs_diff(request.now.as_secs());
    if age > MAX_AGE_S {
        return Err(Rejection::SignatureOld(age));
    }
    Ok(())
}

fn missing(header: &str) -> Rejection {
    Rejection::SignatureMissing {
        header: header.to_owned(),
    }
}

/// The sender's id of the event, else the body's hash.
fn event_id(settings: &GenericSettings, request: Request<'_>) -> String {
    let header = match &settings.signature {
        SignatureScheme::StandardWebhooks => Some(ID),
        SignatureScheme::Hmac { id_header, .. } => id_header.as_deref(),
    };
    let id = header.and_then(|header| request.text_header(header));
    id.map_or_else(|| fingerprint(request.body), str::to_owned)
}

/// Says what was heard.
///
/// # Errors
/// [`Rejection::Malformed`] when the body says it is JSON and is not.
pub fn normalise(settings: &GenericSettings, request: Request<'_>) -> Result<Verdict, Rejection> {
    let content_type = request.headers.get(CONTENT_TYPE);
    let says_json =
        content_type.is_some_and(|kind| String::from_utf8_lossy(kind.as_bytes()).contains("json"));
    let fields = match serde_json::from_slice(request.body) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::String(text)) => Map::from_iter([("text".to_owned(), Value::String(text))]),
        Ok(other) if says_json => return Ok(Verdict::Ignored(format!("no text: JSON {}", kind_of(&other)))),
        Err(error) if says_json => return Err(Rejection::Malformed(error.to_string())),
        Ok(_) | Err(_) => {
            let Ok(text) = str::from_utf8(request.body) else {
                return Ok(Verdict::Ignored("no text: neither JSON nor UTF-8".to_owned()));
            };
            Map::from_iter([("text".to_owned(), Value::String(text.to_owned()))])
        }
    };
    Ok(listen(&fields, &event_id(settings, request)))
}

fn listen(fields: &Map<String, Value>, event: &str) -> Verdict {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| fields.get(*name).filter(|value| !value.is_null()))
    };
    let Some(text) = first(&["text", "message", "body"])
        .and_then(text_of)
        .filter(|text| !text.trim().is_empty())
    else {
        return Verdict::Ignored("no text: none of the fields text, message and body has one".to_owned());
    };
    let url = first(&["url", "link"]).and_then(Value::as_str);
    let title = first(&["title", "subject"]).and_then(text_of);
    let mut mentions = string_list(fields.get("mentions"));
    for name in &mut mentions {
        *name = name.trim_start_matches('@').to_lowercase();
    }
    mentions_in_plain(&text, &mut mentions);
    let conversation = conversation(first(&["conversation", "thread"]), title.as_deref(), url, event);
    Verdict::Heard(Box::new(Heard {
        kind: first(&["type", "event"])
            .and_then(text_of)
            .map_or_else(|| "webhook".to_owned(), |kind| cut_name(&kind)),
        actor: actor(first(&["actor", "sender", "user", "from"])),
        text: cut(&text, TEXT_LIMIT),
        context: context(title.as_deref(), fields.get("context")),
        reply_to: ReplyTo::Generic {
            conversation: conversation.key.clone(),
            event: event.to_owned(),
        },
        conversation,
        mentions,
        labels: string_list(fields.get("labels")),
        to_bot: fields.get("to_bot").and_then(Value::as_bool).unwrap_or(true),
    }))
}

/// A text, or a text inside an object: `{"message": {"text": "…"}}`. Numbers are read as text.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(fields) => fields.get("text").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    }
}

/// `"Ada"`, or `{"id": …, "name": …, "trust": "member"}`. Whoever holds the secret is believed about people.
fn actor(value: Option<&Value>) -> Actor {
    let field = |name| value.and_then(|value| value.get(name)).and_then(text_of);
    let id = field("id").or_else(|| value.and_then(text_of));
    let name = field("name").or_else(|| field("login")).or_else(|| id.clone());
    Actor {
        id: cut_name(id.or_else(|| name.clone()).as_deref().unwrap_or("webhook")),
        name: cut_name(name.as_deref().unwrap_or("webhook")),
        trust: match field("trust").as_deref() {
            Some("member") => Trust::Member,
            _ => Trust::Outsider,
        },
    }
}

/// `"order-17"`, or `{"key": …, "title": …, "url": …}`; without one, every event is a conversation of its own.
fn conversation(value: Option<&Value>, title: Option<&str>, url: Option<&str>, event: &str) -> Conversation {
    let field = |name| value.and_then(|value| value.get(name)).and_then(text_of);
    let key = field("key")
        .or_else(|| field("id"))
        .or_else(|| value.and_then(text_of));
    let key = key.as_deref().map(cut_name).filter(|key| !key.is_empty());
    Conversation {
        title: cut_name(
            field("title")
                .as_deref()
                .or(title)
                .or(key.as_deref())
                .unwrap_or_default(),
        ),
        key: key.unwrap_or_else(|| event.to_owned()),
        url: web_address(field("url").as_deref().or(url)),
    }
}

/// The title, then the entries of `context`: texts, or `{"label": …, "text": …}`.
fn context(title: Option<&str>, entries: Option<&Value>) -> Vec<Quote> {
    let quote = |label: &str, text: &str| Quote {
        label: cut_name(label),
        by: None,
        text: cut(text, QUOTE_LIMIT),
    };
    let title = title.map(|title| quote("title", title));
    let entries = entries
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let entries = entries.iter().filter_map(|entry| {
        let label = entry.get("label").and_then(Value::as_str).unwrap_or("context");
        Some(quote(label, &text_of(entry)?))
    });
    title.into_iter().chain(entries).take(LIST_LIMIT).collect()
}

fn string_list(value: Option<&Value>) -> Vec<String> {
    let entries = value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = entries.iter().filter_map(Value::as_str).map(cut_name);
    names.filter(|name| !name.is_empty()).take(LIST_LIMIT).collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
