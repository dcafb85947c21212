//! The edge's sender of replies to generic webhooks against a receiver, over real HTTP.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use roost_edge::{
    edge::PrivateAddresses,
    host::native::{DatabaseAddress, ports},
    ingress::channel::{Request, verify},
    integration::{GenericSettings, Integration, Secrets, Settings, SignatureScheme},
    outbox::{
        Senders,
        channel::{Outcome, Sending, send},
    },
};
use roost_shared::{EffectId, IntegrationId, effect::Effect, work::ReplyTo};
use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Default)]
struct Receiver {
    got: Vec<(HeaderMap, String)>,
    answers: Vec<(u16, Option<&'static str>)>,
}

type Shared = Arc<Mutex<Receiver>>;

async fn receive(State(receiver): State<Shared>, headers: HeaderMap, body: String) -> impl IntoResponse {
    let mut receiver = receiver.lock().unwrap();
    receiver.got.push((headers, body));
    let (status, retry_after) = receiver.answers.pop().unwrap_or((204, None));
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert("retry-after", seconds.parse().unwrap());
    }
    (axum::http::StatusCode::from_u16(status).unwrap(), headers)
}

#[tokio::test]
async fn replies_are_signed_and_sent_again_under_the_same_id() {
    let receiver = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/replies", post(receive))
        .with_state(receiver.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let directory = tempfile::tempdir().unwrap();
    let ports = ports(&DatabaseAddress::File(directory.path().join("roost.db"))).unwrap();
    let settings = |reply_url: Option<String>| {
        Settings::Generic(GenericSettings {
            signature: SignatureScheme::StandardWebhooks,
            reply_url,
        })
    };
    let mut integration = Integration {
        id: IntegrationId::from_bytes([7; 16]),
        name: "alerts".to_owned(),
        enabled: true,
        settings: settings(Some(format!("http://{address}/replies"))),
    };
    let secrets = Secrets::Generic {
        signing: vec![SECRET.to_owned(), "older".to_owned()],
    };
    let effect = EffectId::from_bytes([1; 16]);
    let reply = Effect::Reply {
        to: ReplyTo::Generic {
            conversation: "db-1/disk".to_owned(),
            event: "msg_1".to_owned(),
        },
        text: "Freed 20 GB.".to_owned(),
    };
    let senders = Senders::default();
    let go = async |integration: &Integration, private_addresses| {
        let sending = Sending {
            ports: &ports,
            integration,
            secrets: &secrets,
            effect,
            senders: &senders,
            private_addresses,
        };
        send(&sending, &reply).await
    };

    receiver.lock().unwrap().answers = vec![(410, None), (503, Some("9"))];
    let after = Some(Duration::from_secs(9));
    let first = go(&integration, PrivateAddresses::Allowed).await;
    assert!(
        matches!(&first, Outcome::Retry { after: said, .. } if *said == after),
        "{first:?}"
    );
    let second = go(&integration, PrivateAddresses::Allowed).await;
    assert!(
        matches!(
            second,
            Outcome::Failed {
                code: "channel_target_gone",
                ..
            }
        ),
        "{second:?}"
    );
    let third = go(&integration, PrivateAddresses::Allowed).await;
    assert_eq!(third, Outcome::Sent { external_id: None });
    let refused = go(&integration, PrivateAddresses::Refused).await;
    assert!(
        matches!(
            refused,
            Outcome::Failed {
                code: "address_private",
                ..
            }
        ),
        "{refused:?}"
    );

    let got = std::mem::take(&mut receiver.lock().unwrap().got);
    assert_eq!(got.len(), 3);
    for (headers, body) in got {
        let request = Request {
            headers: &headers,
            body: &body.clone().into(),
            now: ports.clock.now(),
        };
        let verified = verify(&integration.settings, &secrets, request).unwrap();
        assert_eq!(verified.dedupe_key, effect.to_string());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["conversation"], &body["in_reply_to"]),
            (&"db-1/disk".into(), &"msg_1".into())
        );
        assert_eq!(body["text"], "Freed 20 GB.");
    }
    integration.settings = settings(None);
    let nowhere = go(&integration, PrivateAddresses::Allowed).await;
    assert!(
        matches!(
            nowhere,
            Outcome::Failed {
                code: "reply_url_missing",
                ..
            }
        ),
        "{nowhere:?}"
    );
    server.abort();
}
