use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use roost_shared::UnixMillis;
use serde_json::json;

use super::*;
use crate::ingress::{
    mutation::damaged,
    signature::{sign, standard_signature},
};

const NOW: UnixMillis = UnixMillis(1_763_690_000_000);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn settings(signature: SignatureScheme) -> GenericSettings {
    GenericSettings {
        signature,
        reply_url: None,
    }
}

fn standard() -> GenericSettings {
    settings(SignatureScheme::StandardWebhooks)
}

fn check(
    settings: &GenericSettings,
    secrets: &[&str],
    headers: &[(&str, &str)],
    body: &'static [u8],
) -> Result<String, Rejection> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
    let request = Request {
        headers: &headers,
        body: &Bytes::from_static(body),
        now: NOW,
    };
    verify(settings, &secrets, request).map(|verified| verified.dedupe_key)
}

#[test]
fn standard_webhooks_accept_any_of_several_signatures_and_secrets() {
    let key = generic_key(SECRET).unwrap();
    let at = NOW.as_secs() - 299;
    let signature = standard_signature(&key, "msg_1", at, b"{}");
    let at = at.to_string();
    let all = format!("v1a,AAAA v1,bm90IGl0 {signature}");
    let headers = [(ID, "msg_1"), (TIMESTAMP, &at), (SIGNATURE, &all)];
    assert_eq!(
        check(&standard(), &["whsec_bmV3ZXI=", SECRET], &headers, b"{}"),
        Ok("msg_1".to_owned())
    );
    assert_eq!(
        check(&standard(), &["another"], &headers, b"{}"),
        Err(Rejection::SignatureWrong)
    );
    assert_eq!(
        check(&standard(), &[SECRET], &headers, b"{ }"),
        Err(Rejection::SignatureWrong)
    );
    assert_eq!(
        check(&standard(), &[], &headers, b"{}"),
        Err(Rejection::Secret("there is none"))
    );
    let renamed = [(ID, "msg_2"), headers[1], headers[2]];
    assert_eq!(
        check(&standard(), &[SECRET], &renamed, b"{}"),
        Err(Rejection::SignatureWrong)
    );
    assert_eq!(
        check(&standard(), &[SECRET], &headers[..2], b"{}")
            .unwrap_err()
            .code(),
        "signature_missing"
    );
    assert_eq!(
        check(&standard(), &[SECRET], &headers[1..], b"{}"),
        Err(Rejection::Header(ID))
    );
}

#[test]
fn a_signature_from_another_time_is_turned_away() {
    let key = generic_key(SECRET).unwrap();
    for (offset, verdict) in [
        (-301, Err(301)),
        (301, Err(301)),
        (300, Ok(())),
        (i64::MIN / 2, Err(0)),
    ] {
        let at = NOW.as_secs().saturating_add(offset);
        let signature = standard_signature(&key, "m", at, b"{}");
        let headers = [(ID, "m"), (TIMESTAMP, &at.to_string()), (SIGNATURE, &signature)];
        match (check(&standard(), &[SECRET], &headers, b"{}"), verdict) {
            (Ok(_), Ok(())) => {}
            (Err(Rejection::SignatureOld(age)), Err(expected)) => assert!(age == expected || expected == 0),
            (found, _) => panic!("{offset}: {found:?}"),
        }
    }
    let headers = [(ID, "m"), (TIMESTAMP, "soon"), (SIGNATURE, "v1,AAAA")];
    assert_eq!(
        check(&standard(), &[SECRET], &headers, b"{}"),
        Err(Rejection::Header(TIMESTAMP))
    );
}

#[test]
fn hmac_headers_are_read_as_configured() {
    let digest = sign(b"secret", &[b"hi"]);
    for (encoding, written) in [
        (DigestEncoding::Hex, hex::encode_upper(digest)),
        (DigestEncoding::Base64, STANDARD.encode(digest)),
    ] {
        let settings = settings(SignatureScheme::Hmac {
            header: "X-Signature".to_owned(),
            prefix: "sha256=".to_owned(),
            encoding,
            id_header: Some("X-Event-Id".to_owned()),
        });
        let signature = ("x-signature", &*format!("sha256={written}"));
        assert_eq!(
            check(&settings, &["secret"], &[signature, ("x-event-id", "7")], b"hi"),
            Ok("7".to_owned())
        );
        let by_hash = check(&settings, &["secret"], &[signature], b"hi").unwrap();
        assert!(by_hash.starts_with("sha256:8f434346"), "{by_hash}");
        assert_eq!(
            check(&settings, &["secret"], &[("x-signature", &written)], b"hi"),
            Err(Rejection::SignatureWrong)
        );
        assert_eq!(
            check(&settings, &["secret"], &[signature], b"ho"),
            Err(Rejection::SignatureWrong)
        );
        assert_eq!(
            check(&settings, &["secret"], &[], b"hi").unwrap_err().code(),
            "signature_missing"
        );
    }
}

fn normalise_as(content_type: &str, body: &[u8]) -> Result<Verdict, Rejection> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    let request = Request {
        headers: &headers,
        body: &Bytes::copy_from_slice(body),
        now: NOW,
    };
    normalise(&standard(), request)
}

fn hear(content_type: &str, body: &str) -> Heard {
    match normalise_as(content_type, body.as_bytes()).unwrap() {
        Verdict::Heard(heard) => *heard,
        other => panic!("not heard: {other:?}"),
    }
}

fn full() -> Value {
    json!({
        "type": "alert.fired", "text": "Disk full, @ops look", "title": "db-1",
        "actor": {"id": 9, "name": "Prometheus", "trust": "member"},
        "conversation": {"key": "db-1/disk", "title": "Disk of db-1", "url": "https://example.com/a"},
        "context": [{"label": "graph", "text": "97 %"}, "since noon", 5, {"text": 5}],
        "labels": ["sev1", 3, ""], "mentions": ["@Roost"], "to_bot": false,
    })
}

#[test]
fn json_is_read_by_its_conventions() {
    let heard = hear("application/json", &full().to_string());
    assert_eq!(
        (heard.kind.as_str(), heard.text.as_str()),
        ("alert.fired", "Disk full, @ops look")
    );
    assert_eq!((heard.actor.id.as_str(), heard.actor.trust), ("9", Trust::Member));
    assert_eq!(heard.conversation.key, "db-1/disk");
    assert_eq!(
        (heard.mentions, heard.labels),
        (
            vec!["roost".to_owned(), "ops".to_owned()],
            vec!["sev1".to_owned()]
        )
    );
    let context: Vec<_> = heard
        .context
        .iter()
        .map(|quote| (quote.label.as_str(), quote.text.as_str()))
        .collect();
    assert_eq!(
        context,
        [
            ("title", "db-1"),
            ("graph", "97 %"),
            ("context", "since noon"),
            ("context", "5")
        ]
    );
    assert!(!heard.to_bot);

    let heard = hear(
        "application/json",
        r#"{"message": {"text": "hi"}, "sender": "Ada", "thread": 17}"#,
    );
    assert_eq!(
        (
            heard.text.as_str(),
            heard.actor.name.as_str(),
            heard.conversation.key.as_str()
        ),
        ("hi", "Ada", "17")
    );
    assert!(heard.to_bot && heard.actor.trust == Trust::Outsider);
}

#[test]
fn anything_else_is_text_or_ignored_with_a_reason() {
    assert_eq!(hear("text/plain", "good morning").text, "good morning");
    assert_eq!(hear("text/plain", "42").text, "42");
    assert_eq!(hear("application/json", "\"hello\"").text, "hello");
    assert!(
        hear("text/plain", "alone")
            .conversation
            .key
            .starts_with("sha256:")
    );
    for (content_type, body) in [
        ("application/json", &b"[1]"[..]),
        ("application/json", b"{}"),
        ("application/json", b"{\"text\": \"  \"}"),
        ("application/octet-stream", b"\xff\xfe"),
        ("text/plain", b""),
    ] {
        match normalise_as(content_type, body).unwrap() {
            Verdict::Ignored(reason) => assert!(reason.starts_with("no text"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        normalise_as("application/json", b"{\"text\":")
            .unwrap_err()
            .code(),
        "body_malformed"
    );
}

proptest! {
    #[test]
    fn no_bytes_break_it(body in any::<Vec<u8>>(), json in any::<bool>()) {
        let _ = normalise_as(if json { "application/json" } else { "" }, &body);
    }

    #[test]
    fn no_damage_breaks_it(body in damaged(vec![full()])) {
        let _ = normalise_as("application/json", &body);
    }

    #[test]
    fn no_header_breaks_it(signature in "[ -~]{0,60}", timestamp in "[ -~]{0,25}", id in "[ -~]{0,20}") {
        let headers = [(ID, id.trim()), (TIMESTAMP, timestamp.trim()), (SIGNATURE, signature.trim())];
        let found = check(&standard(), &[SECRET], &headers, b"x");
        prop_assert!(found.is_err());
    }
}
