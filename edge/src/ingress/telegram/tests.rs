use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use roost_shared::UnixMillis;
use serde_json::{Value, json};

use super::*;
use crate::ingress::mutation::damaged;

fn settings() -> TelegramSettings {
    TelegramSettings {
        api_url: "https://api.telegram.org".to_owned(),
        bot_username: "Roost_Bot".to_owned(),
        members: vec![5001],
        keep_webhook: false,
    }
}

fn normalise_bytes(body: &[u8]) -> Result<Verdict, Rejection> {
    let body = Bytes::copy_from_slice(body);
    let request = Request {
        headers: &HeaderMap::new(),
        body: &body,
        now: UnixMillis(0),
    };
    normalise(&settings(), request)
}

fn fixtures() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/telegram");
    let mut all = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.insert(name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap());
    }
    all
}

#[test]
fn every_kind_of_update_is_heard_or_ignored_as_expected() {
    let mut updates = fixtures();
    let expected = updates.remove("expected").unwrap();
    assert_eq!(updates.len(), expected.as_object().unwrap().len());
    for (name, update) in updates {
        let expected = &expected[&name];
        let verdict = normalise_bytes(update.to_string().as_bytes()).unwrap();
        let kind = match verdict {
            Verdict::Changed(..) => "edited",
            _ => "heard",
        };
        match verdict {
            Verdict::Ignored(reason) => {
                assert_eq!(
                    ("ignored", &json!(reason)),
                    (expected["verdict"].as_str().unwrap(), &expected["reason"])
                );
            }
            Verdict::Heard(heard) | Verdict::Changed(_, heard) => {
                let context: Vec<_> = heard
                    .context
                    .iter()
                    .map(|quote| (&quote.label, &quote.text))
                    .collect();
                let ReplyTo::Telegram { topic, .. } = heard.reply_to else {
                    panic!("{name}: {:?}", heard.reply_to);
                };
                let found = json!({
                    "verdict": kind, "key": heard.conversation.key, "title": heard.conversation.title,
                    "url": heard.conversation.url, "actor": heard.actor.name, "mentions": heard.mentions,
                    "to_bot": heard.to_bot, "context": context, "topic": topic,
                });
                for (field, value) in expected.as_object().unwrap() {
                    assert_eq!(&found[field], value, "{name}: {field}");
                }
                let trust = if heard.actor.id == "5001" {
                    Trust::Member
                } else {
                    Trust::Outsider
                };
                assert_eq!(heard.actor.trust, trust, "{name}");
            }
        }
    }
}

#[test]
fn the_secret_token_is_what_proves_an_update() {
    let body = Bytes::from_static(br#"{"update_id": 17}"#);
    let check = |token: Option<&str>, secret: &str| {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(TOKEN, token.parse().unwrap());
        }
        let request = Request {
            headers: &headers,
            body: &body,
            now: UnixMillis(0),
        };
        verify(secret, request)
            .map(|verified| verified.dedupe_key)
            .map_err(|rejection| rejection.code())
    };
    assert_eq!(check(Some("s3cret"), "s3cret"), Ok("17".to_owned()));
    assert_eq!(check(Some("s3cre"), "s3cret"), Err("signature_wrong"));
    assert_eq!(check(None, "s3cret"), Err("signature_missing"));
    assert_eq!(check(Some(""), ""), Err("integration_secret_unusable"));
}

#[test]
fn an_entity_out_of_bounds_or_inside_a_character_marks_nothing() {
    for (offset, length) in [(0, 1), (1, 1), (2, usize::MAX), (3, 99)] {
        let update = json!({"update_id": 1, "message": {"message_id": 1, "chat": {"id": 1, "type": "group"},
            "from": {"id": 2, "is_bot": false}, "text": "🚀@x", "entities": [
                {"type": "mention", "offset": offset, "length": length},
                {"type": "mention", "offset": 2, "length": 2}]}});
        let Verdict::Heard(heard) = normalise_bytes(update.to_string().as_bytes()).unwrap() else {
            panic!("not heard");
        };
        assert_eq!(heard.mentions, ["x"]);
    }
}

proptest! {
    #[test]
    fn no_bytes_break_it(body in any::<Vec<u8>>()) {
        let _ = normalise_bytes(&body);
    }

    #[test]
    fn no_damage_breaks_it(body in damaged(fixtures().into_values().collect())) {
        let _ = normalise_bytes(&body);
    }
}
