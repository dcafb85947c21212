//! The edge's Telegram sender against the Telegram stand-in, over real HTTP.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use roost_edge::{
    edge::PrivateAddresses,
    host::native::{DatabaseAddress, ports},
    integration::{Integration, Secrets, Settings, TelegramSettings},
    outbox::{
        Senders,
        channel::{Outcome, Sending, send},
        split::split,
    },
    ports::Ports,
};
use roost_runner::standin::telegram::{TelegramFault, TelegramServer};
use roost_shared::{EffectId, IntegrationId, effect::Effect, work::ReplyTo};
use serde_json::json;

const TOKEN: &str = "7001:good-Token_1";

struct Stage {
    telegram: TelegramServer,
    ports: Ports,
    integration: Integration,
    senders: Senders,
    _directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let telegram = TelegramServer::start(TOKEN).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("roost.db");
        let settings = TelegramSettings {
            api_url: telegram.url(),
            bot_username: "roost_bot".to_owned(),
            members: Vec::new(),
            keep_webhook: false,
        };
        Self {
            ports: ports(&DatabaseAddress::File(database)).unwrap(),
            integration: Integration {
                id: IntegrationId::from_bytes([7; 16]),
                name: "telegram".to_owned(),
                enabled: true,
                settings: Settings::Telegram(settings),
            },
            senders: Senders::default(),
            _directory: directory,
            telegram,
        }
    }

    async fn send_as(&self, bot_token: &str, effect: &Effect) -> Outcome {
        let secrets = Secrets::Telegram {
            secret_token: "s3cret".to_owned(),
            bot_token: bot_token.to_owned(),
        };
        let sending = Sending {
            ports: &self.ports,
            integration: &self.integration,
            secrets: &secrets,
            effect: EffectId::from_bytes([1; 16]),
            senders: &self.senders,
            private_addresses: PrivateAddresses::Allowed,
        };
        send(&sending, effect).await
    }

    async fn reply(&self, text: &str) -> Outcome {
        let text = text.to_owned();
        self.send_as(TOKEN, &Effect::Reply { to: to(), text }).await
    }
}

fn to() -> ReplyTo {
    ReplyTo::Telegram {
        chat: -100,
        topic: Some(7),
        message: 42,
    }
}

#[tokio::test]
async fn replies_and_typing_reach_the_chat_as_they_should() {
    let stage = Stage::new().await;
    let typing = stage.send_as(TOKEN, &Effect::Acknowledge { to: to() }).await;
    assert_eq!(typing, Outcome::Sent { external_id: None });
    let answer = stage.reply("🚀 **done**, see [log](https://e.x)").await;
    let external_id = Some("1001".to_owned());
    assert_eq!(answer, Outcome::Sent { external_id });

    let requests = stage.telegram.requests();
    let expected = json!({"chat_id": -100, "message_thread_id": 7, "action": "typing"});
    assert_eq!(requests[0], ("sendChatAction".to_owned(), expected));
    let sent = &stage.telegram.sent()[0];
    assert_eq!((sent.chat, sent.topic, sent.reply_to), (-100, Some(7), Some(42)));
    assert_eq!(sent.text, "🚀 done, see log");
    assert_eq!(
        sent.entities[0],
        json!({"type": "bold", "offset": 3, "length": 4})
    );
    assert_eq!(sent.entities[1]["url"], "https://e.x");
}

#[tokio::test]
async fn every_piece_of_a_long_reply_is_taken() {
    let stage = Stage::new().await;
    let code = (0..500)
        .map(|line| format!("let x{line} = \"🚀 *{line}*\";\n"))
        .collect::<String>();
    let bullets =
        (0..200).map(|line| format!("- **item {line}** with `code` and [a link](https://e.x/{line})\n"));
    let text = format!(
        "# Report\n\n```rust\n{code}```\n\n{}",
        bullets.collect::<String>()
    );
    let pieces = split(&to(), &text);
    assert!(pieces.len() > 5);
    for piece in &pieces {
        assert!(matches!(stage.reply(piece).await, Outcome::Sent { .. }));
    }
    let sent = stage.telegram.sent();
    assert_eq!(sent.len(), pieces.len());
    assert!(
        sent.iter()
            .any(|message| message.entities[0]["language"] == "rust")
    );
}

#[tokio::test]
async fn failures_are_told_for_what_they_are() {
    let stage = Stage::new().await;
    let wait = Duration::from_secs(17);
    stage
        .telegram
        .fail_next(TelegramFault::TooMany { retry_after: wait });
    match stage.reply("x").await {
        Outcome::Retry { after, .. } => assert_eq!(after, Some(wait)),
        outcome => panic!("{outcome:?}"),
    }
    stage.telegram.fail_next(TelegramFault::ErrorAfter);
    assert!(matches!(stage.reply("x").await, Outcome::Unknown { .. }));
    stage.telegram.fail_next(TelegramFault::Blocked);
    assert!(matches!(
        stage.reply("x").await,
        Outcome::Failed {
            code: "channel_forbidden",
            ..
        }
    ));
    stage.telegram.fail_next(TelegramFault::Migrated { chat: -200 });
    assert!(matches!(stage.reply("moved").await, Outcome::Sent { .. }));
    let sent = stage.telegram.sent();
    let moved = sent.last().unwrap();
    assert_eq!((moved.chat, moved.reply_to), (-200, None));
    let text = "x".to_owned();
    let outcome = stage
        .send_as("7001:wrong", &Effect::Reply { to: to(), text })
        .await;
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                code: "channel_unauthorized",
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn no_reason_names_the_bots_token() {
    let stage = Stage::new().await;
    let gone = TelegramServer::start(TOKEN).await.unwrap().url();
    let mut stage = stage;
    if let Settings::Telegram(settings) = &mut stage.integration.settings {
        settings.api_url = gone;
    }
    match stage.reply("x").await {
        Outcome::Retry { reason, .. } | Outcome::Unknown { reason } => {
            assert!(!reason.contains(TOKEN), "{reason}");
        }
        outcome => panic!("{outcome:?}"),
    }
}
