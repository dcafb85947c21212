//! Replies to generic webhooks: a POST to the integration's `reply_url`, signed by
//! [Standard Webhooks](https://www.standardwebhooks.com).
//!
//! Invariant: a reply that is sent again has the same `webhook-id`, so that the receiver can tell; therefore sending it
//! again does no harm.

use http::{HeaderValue, StatusCode};
use roost_shared::{effect::Effect, work::ReplyTo};
use serde_json::json;

use crate::{
    ingress::signature::{generic_key, standard_signature},
    integration::GenericSettings,
    outbox::{
        call::{self, Twice},
        channel::{Outcome, Sending, elsewhere},
    },
};

/// Sends one effect.
pub(super) async fn send(
    sending: &Sending<'_>,
    settings: &GenericSettings,
    signing: &[String],
    effect: &Effect,
) -> Outcome {
    let (Effect::Acknowledge { to } | Effect::Reply { to, .. }) = effect;
    let ReplyTo::Generic { conversation, event } = to else {
        return elsewhere("generic");
    };
    let (Effect::Reply { text, .. }, Some(url)) = (effect, &settings.reply_url) else {
        return match effect {
            // The 2xx was the sign of receipt; there is no other.
            Effect::Acknowledge { .. } => Outcome::Sent { external_id: None },
            Effect::Reply { .. } => Outcome::Failed {
                code: "reply_url_missing",
                reason: "the integration has no reply_url, so the reply stands in the run only; enter one"
                    .to_owned(),
            },
        };
    };
    let id = sending.effect.to_string();
    let body = json!({
        "type": "reply",
        "id": id,
        "conversation": conversation,
        "in_reply_to": event,
        "text": text,
    });
    match request(sending, signing, url, &id, body.to_string().into_bytes()) {
        Ok(request) => match call::call(sending.ports, request, "").await {
            Ok(response) => judge(&response),
            Err(error) => Twice::IsOnce.unanswered(error),
        },
        Err(outcome) => outcome,
    }
}

fn request(
    sending: &Sending<'_>,
    signing: &[String],
    url: &str,
    id: &str,
    body: Vec<u8>,
) -> Result<http::Request<bytes::Bytes>, Outcome> {
    let unusable = |reason: String| Outcome::Failed {
        code: "integration_secret_unusable",
        reason,
    };
    let secret = signing
        .first()
        .ok_or_else(|| unusable("the integration has no secret to sign with".to_owned()))?;
    let key = generic_key(secret).map_err(|rejection| unusable(rejection.to_string()))?;
    let timestamp = sending.ports.clock.now().as_secs();
    let signature = standard_signature(&key, id, timestamp, &body);
    let mut request = call::post(url, body)?;
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", &timestamp.to_string()),
        ("webhook-signature", &signature),
    ] {
        let value =
            HeaderValue::from_str(value).map_err(|_| unusable("the signature is no header".to_owned()))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn judge(response: &http::Response<bytes::Bytes>) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Sent {
            external_id: call::id_in(response.body(), "id"),
        };
    }
    let may_pass = status.is_server_error()
        || [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status);
    if may_pass {
        return Outcome::Retry {
            after: call::retry_after(response.headers()),
            reason: format!("the receiver answered {status}"),
        };
    }
    let code = match status.as_u16() {
        401 => "channel_unauthorized",
        403 => "channel_forbidden",
        404 | 410 => "channel_target_gone",
        _ => "channel_refused",
    };
    Outcome::Failed {
        code,
        reason: format!(
            "the receiver refused the reply ({}, {:?}): check where its replies go (`reply_url`)",
            status.as_u16(),
            call::words(response.body())
        ),
    }
}
