use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use roost_shared::{
    UnixMillis,
    event::Change,
    work::{GithubSubject, ReplyTo, Trust},
};
use serde_json::{Value, json};

use super::*;
use crate::ingress::{channel::Heard, mutation::damaged, signature::sign};

fn settings() -> GithubSettings {
    GithubSettings {
        api_url: "https://api.github.com".to_owned(),
        app_id: Some("1".to_owned()),
        bot_login: "roost[bot]".to_owned(),
        repositories: Vec::new(),
    }
}

fn normalise_as(event: &str, content_type: &str, body: &[u8]) -> Result<Verdict, Rejection> {
    let mut headers = HeaderMap::new();
    headers.insert(EVENT, event.parse().unwrap());
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    let request = Request {
        headers: &headers,
        body: &Bytes::copy_from_slice(body),
        now: UnixMillis(0),
    };
    normalise(&settings(), request)
}

fn judge(event: &str, payload: &Value) -> Verdict {
    normalise_as(event, "application/json", payload.to_string().as_bytes()).unwrap()
}

fn hear(event: &str, payload: &Value) -> Heard {
    match judge(event, payload) {
        Verdict::Heard(heard) => *heard,
        other => panic!("not heard: {other:?}"),
    }
}

fn person(login: &str, id: u64) -> Value {
    json!({"login": login, "id": id, "type": "User"})
}

fn issue() -> Value {
    json!({"number": 12, "title": "It breaks", "body": "Always.", "user": person("olga", 2),
           "author_association": "NONE", "html_url": "https://github.com/octo/repo/issues/12",
           "labels": [{"name": "bug"}, {"name": "Help Wanted"}]})
}

fn commented(body: &str) -> Value {
    json!({"action": "created", "issue": issue(), "sender": person("ada", 1), "installation": {"id": 77},
           "comment": {"id": 900, "body": body, "user": person("ada", 1), "author_association": "MEMBER"},
           "repository": {"full_name": "octo/repo"}})
}

fn reviewed_diff() -> Value {
    json!({"action": "created", "pull_request": issue(), "sender": person("ada", 1),
           "comment": {"id": 901, "in_reply_to_id": 800, "body": "why?", "user": person("ada", 1), "line": 3,
                       "path": "src/a.rs", "diff_hunk": "@@ -1 +1 @@", "author_association": "CONTRIBUTOR"},
           "repository": {"full_name": "octo/repo"}})
}

#[test]
fn a_comment_is_heard_with_what_it_is_about() {
    let heard = hear("issue_comment", &commented("@Roost please fix, cc @olga"));
    assert_eq!(heard.kind, "issue_comment.created");
    assert_eq!((heard.actor.id.as_str(), heard.actor.trust), ("1", Trust::Member));
    assert_eq!(heard.conversation.key, "octo/repo#12");
    assert_eq!(heard.mentions, ["roost", "olga"]);
    assert_eq!(heard.labels, ["bug", "Help Wanted"]);
    assert!(heard.to_bot);
    let context: Vec<_> = heard
        .context
        .iter()
        .map(|quote| (quote.label.as_str(), quote.text.as_str()))
        .collect();
    assert_eq!(context, [("title", "It breaks"), ("description", "Always.")]);
    assert_eq!(heard.context[1].by.as_ref().unwrap().trust, Trust::Outsider);
    assert_eq!(
        heard.reply_to,
        ReplyTo::Github {
            repository: "octo/repo".to_owned(),
            number: 12,
            subject: GithubSubject::IssueComment(900),
            thread: None,
            installation: Some(77),
        }
    );
}

#[test]
fn a_review_comment_is_answered_in_its_thread() {
    let heard = hear("pull_request_review_comment", &reviewed_diff());
    let ReplyTo::Github { subject, thread, .. } = heard.reply_to else {
        panic!("{:?}", heard.reply_to);
    };
    assert_eq!((subject, thread), (GithubSubject::ReviewComment(901), Some(800)));
    assert_eq!(heard.context[2].label, "diff of src/a.rs, line 3");
    assert!(!heard.to_bot);
}

#[test]
fn a_review_is_heard_with_its_verdict() {
    let review = json!({"action": "submitted", "pull_request": issue(), "sender": person("ada", 1),
        "review": {"body": "Not yet, @roost", "state": "changes_requested", "user": person("ada", 1),
                   "author_association": "COLLABORATOR"},
        "repository": {"full_name": "octo/repo"}});
    let heard = hear("pull_request_review", &review);
    assert!(heard.to_bot && heard.actor.trust == Trust::Member);
    assert_eq!(
        (heard.context[2].label.as_str(), heard.context[2].text.as_str()),
        ("review verdict", "changes_requested")
    );
}

#[test]
fn only_those_who_may_label_are_trusted_for_it() {
    let labelled = |sender: Value| {
        json!({"action": "labeled", "issue": issue(), "label": {"name": "roost"}, "sender": sender,
               "repository": {"full_name": "octo/repo"}})
    };
    let by_maintainer = hear("issues", &labelled(person("ada", 1)));
    assert_eq!(
        (by_maintainer.actor.trust, by_maintainer.labels),
        (Trust::Member, vec!["roost".to_owned()])
    );
    let by_template = hear("issues", &labelled(person("olga", 2)));
    assert_eq!(by_template.actor.trust, Trust::Outsider);
}

#[test]
fn what_calls_nobody_is_ignored_with_a_reason() {
    let reason = |event: &str, payload: &Value| match judge(event, payload) {
        Verdict::Ignored(reason) => reason,
        other => panic!("{other:?}"),
    };
    let with = |path: &str, value: Value| {
        let mut payload = commented("hello");
        *payload.pointer_mut(path).unwrap() = value;
        payload
    };
    let bot = json!({"login": "dependabot[bot]", "id": 3, "type": "Bot"});
    assert_eq!(reason("issue_comment", &with("/sender", bot)), "from a bot");
    assert_eq!(
        reason("issue_comment", &with("/sender", person("Roost[bot]", 4))),
        "own message"
    );
    let marked = json!("Done.\n\n<!-- roost:01J9ZD6M5N0000000000000000 -->\n");
    assert_eq!(
        reason("issue_comment", &with("/comment/body", marked)),
        "own message"
    );
    assert_eq!(
        reason("issue_comment", &with("/comment/body", Value::Null)),
        "no text"
    );
    assert_eq!(
        reason("check_run", &json!({})),
        "event not listened to: check_run"
    );
    assert_eq!(
        reason("ping", &json!({"zen": "…"})),
        "event not listened to: ping"
    );
}

#[test]
fn what_becomes_of_a_message_is_heard_too() {
    let changed = |action: &str| {
        let mut payload = commented("hello");
        payload["action"] = json!(action);
        payload
    };
    let said = hear("issue_comment", &commented("hello"));
    for (action, change) in [("edited", Change::Edited), ("deleted", Change::Deleted)] {
        let Verdict::Changed(heard_change, heard) = judge("issue_comment", &changed(action)) else {
            panic!("{action} is a change");
        };
        assert_eq!((heard_change, &heard.reply_to), (change, &said.reply_to));
        assert_eq!(heard.actor, said.actor);
    }
    let mut by_bot = changed("edited");
    by_bot["sender"] = json!({"login": "dependabot[bot]", "id": 3, "type": "Bot"});
    assert!(matches!(judge("issue_comment", &by_bot), Verdict::Ignored(_)));
}

#[test]
fn assigning_the_bot_calls_it() {
    let assigned = |login: &str| {
        json!({"action": "assigned", "issue": issue(), "assignee": person(login, 9), "sender": person("ada", 1),
               "repository": {"full_name": "octo/repo"}})
    };
    assert!(hear("issues", &assigned("roost[bot]")).to_bot);
    assert!(matches!(judge("issues", &assigned("olga")), Verdict::Ignored(_)));
}

#[test]
fn a_form_carries_the_same() {
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &commented("hé & co").to_string())
        .finish();
    match normalise_as(
        "issue_comment",
        "application/x-www-form-urlencoded",
        form.as_bytes(),
    )
    .unwrap()
    {
        Verdict::Heard(heard) => assert_eq!(heard.text, "hé & co"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_body_that_lacks_the_necessary_is_turned_away() {
    for path in ["/sender", "/issue", "/repository/full_name", "/comment"] {
        let mut payload = commented("hello");
        *payload.pointer_mut(path).unwrap() = if path.ends_with("name") {
            json!("../..")
        } else {
            Value::Null
        };
        let found = normalise_as(
            "issue_comment",
            "application/json",
            payload.to_string().as_bytes(),
        );
        assert_eq!(found.unwrap_err().code(), "body_malformed", "{path}");
    }
}

#[test]
fn the_signature_covers_the_raw_body() {
    let body = Bytes::from_static(b"{\"a\": 1}");
    let good = format!("sha256={}", hex::encode(sign(b"it's a secret", &[&body])));
    let check = |signature: Option<&str>, secret: &str, body: &Bytes| {
        let mut headers = HeaderMap::new();
        headers.insert(DELIVERY, "d-1".parse().unwrap());
        if let Some(signature) = signature {
            headers.insert(SIGNATURE, signature.parse().unwrap());
        }
        let request = Request {
            headers: &headers,
            body,
            now: UnixMillis(0),
        };
        verify(secret, request)
            .map(|verified| verified.dedupe_key)
            .map_err(|rejection| rejection.code())
    };
    assert_eq!(check(Some(&good), "it's a secret", &body), Ok("d-1".to_owned()));
    assert_eq!(
        check(Some(&good), "it's a secret", &Bytes::from_static(b"{\"a\":1}")),
        Err("signature_wrong")
    );
    assert_eq!(check(Some(&good), "another", &body), Err("signature_wrong"));
    assert_eq!(
        check(Some(&good[7..]), "it's a secret", &body),
        Err("signature_wrong")
    );
    assert_eq!(
        check(Some("sha256=zz"), "it's a secret", &body),
        Err("signature_wrong")
    );
    assert_eq!(check(None, "it's a secret", &body), Err("signature_missing"));
    assert_eq!(check(Some(&good), "", &body), Err("integration_secret_unusable"));
}

proptest! {
    #[test]
    fn no_bytes_break_it(body in any::<Vec<u8>>(), form in any::<bool>()) {
        let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        let _ = normalise_as("issues", kind, &body);
    }

    #[test]
    fn no_damage_breaks_it(
        body in damaged(vec![commented("@roost `x` **y**"), reviewed_diff()]),
        event in prop::sample::select(vec!["issue_comment", "pull_request_review_comment", "issues"]),
    ) {
        let _ = normalise_as(event, "application/json", &body);
    }
}
