//! Every payload that GitHub is known to have sent is heard or ignored with a reason; none is turned away, none breaks
//! anything. The payloads are those of the npm package `@octokit/webhooks-examples`, of github.com and of every
//! GitHub Enterprise Server release in it.

use std::{collections::BTreeMap, fs};

use roost_edge::{
    ingress::channel::{Request, Verdict, normalise, verify},
    integration::{GithubSettings, Secrets, Settings},
};
use roost_runner::fixture::sign_github;
use roost_shared::{UnixMillis, work::ReplyTo};
use serde_json::Value;
use xtask::toolbox::Toolbox;

const FLAVOURS: [&str; 6] = [
    "api.github.com",
    "ghes-31",
    "ghes-32",
    "ghes-33",
    "ghes-34",
    "ghes-35",
];

#[test]
fn every_payload_is_heard_or_ignored_with_a_reason() {
    let toolbox = Toolbox::locate().expect("a toolbox");
    let settings = Settings::Github(GithubSettings {
        api_url: "https://api.github.com".to_owned(),
        app_id: None,
        bot_login: "roost[bot]".to_owned(),
        repositories: Vec::new(),
    });
    let secrets = Secrets::Github {
        webhook_secret: "s3cret".to_owned(),
        private_key: None,
        token: None,
    };
    let mut heard = BTreeMap::new();
    let mut ignored = 0;
    for flavour in FLAVOURS {
        let path = format!("@octokit/webhooks-examples/{flavour}/index.json");
        let index = toolbox.npm_file(&path).expect("run `cargo xtask setup` first");
        let events: Vec<Value> = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
        for event in &events {
            let name = event["name"].as_str().unwrap();
            for payload in event["examples"].as_array().unwrap() {
                let sent = sign_github("s3cret", name, "delivery-1", payload.to_string().into());
                let request = Request {
                    headers: &sent.headers,
                    body: &sent.body,
                    now: UnixMillis(0),
                };
                assert_eq!(
                    verify(&settings, &secrets, request).unwrap().dedupe_key,
                    "delivery-1"
                );
                match normalise(&settings, request) {
                    Ok(Verdict::Heard(said) | Verdict::Changed(_, said)) => {
                        assert!(matches!(said.reply_to, ReplyTo::Github { number: 1.., .. }));
                        assert!(!said.text.trim().is_empty() && !said.actor.name.is_empty());
                        *heard.entry(said.kind.clone()).or_insert(0) += 1;
                    }
                    Ok(Verdict::Ignored(reason)) => {
                        assert!(!reason.is_empty());
                        ignored += 1;
                    }
                    Err(rejection) => panic!("{flavour} {name}: {rejection}"),
                }
            }
        }
    }
    println!("{ignored} ignored, heard: {heard:?}");
    for kind in [
        "issue_comment.created",
        "issues.labeled",
        "issues.opened",
        "pull_request.labeled",
        "pull_request.opened",
        "pull_request_review_comment.created",
    ] {
        assert!(heard.contains_key(kind), "{kind} is never heard");
    }
    assert!(
        ignored > 500,
        "only {ignored} payloads were ignored: is the package complete?"
    );
}
