//! What is particular to the edge on Cloudflare Workers and on Spin: how it is told its settings, and its timer.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::future::join_all;
use roost_edge::{
    host::native::DatabaseAddress,
    integration::{GithubSettings, Secrets, Settings},
    setup::{self, IntegrationDraft},
};
use roost_runner::{
    fixture::{Fixture, Order, Place},
    standin::github::{GithubConfig, GithubServer},
};
use roost_tests::{
    Sqld, WasmtimeServe, Workerd,
    office::{BOT, Channels, MASTER_KEY, Office, SECRET},
};
use serde_json::Value;

#[tokio::test]
async fn a_worker_says_what_it_misses_and_ticks_once_it_has_all() {
    let server = Sqld::start().await;
    let unset = Workerd::start(&[("ROOST_PUBLIC_URL", "http://127.0.0.1")]).await;
    assert_eq!(health(unset.url()).await, (503, "not_configured".to_owned()));

    let url = server.url();
    let worker = Workerd::start(&variables(&url)).await;
    assert_eq!(health(worker.url()).await, (503, "schema_older".to_owned()));
    Office::open(&DatabaseAddress::Server {
        url: url.clone(),
        token: None,
    })
    .await;
    assert_eq!(health(worker.url()).await, (200, "ok".to_owned()));
    assert_eq!(worker.tick().await, "ok");
}

#[tokio::test]
async fn a_component_says_what_it_misses_and_serves_once_it_has_all() {
    let server = Sqld::start().await;
    let unset = WasmtimeServe::start(&[("ROOST_MASTER_KEY", MASTER_KEY)]).await;
    assert_eq!(health(unset.url()).await, (503, "not_configured".to_owned()));

    let url = server.url();
    let component = WasmtimeServe::start(&variables(&url)).await;
    assert_eq!(health(component.url()).await, (503, "schema_older".to_owned()));
    Office::open(&DatabaseAddress::Server {
        url: url.clone(),
        token: None,
    })
    .await;
    assert_eq!(health(component.url()).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_worker_and_a_component_speak_for_a_github_app() {
    let github = GithubServer::start(GithubConfig {
        app_public_key: Some(include_str!("keys/app.pub.pem").to_owned()),
        token: None,
        repositories: None,
    })
    .await
    .unwrap();
    let server = Sqld::start().await;
    let url = server.url();
    let office = Office::open(&DatabaseAddress::Server {
        url: url.clone(),
        token: None,
    })
    .await;
    let app = IntegrationDraft {
        name: "github".into(),
        settings: Settings::Github(GithubSettings {
            api_url: github.url(),
            app_id: Some("4711".into()),
            bot_login: BOT.into(),
            repositories: Vec::new(),
        }),
        secrets: Some(Secrets::Github {
            webhook_secret: SECRET.into(),
            private_key: Some(include_str!("keys/app.pem").into()),
            token: None,
        }),
        enabled: true,
    };
    setup::create_integration(&office.edge, &office.scope, app)
        .await
        .unwrap();
    office.employ("roost", "scripted/none").await;

    let mut variables = variables(&url).to_vec();
    variables.push(("ROOST_PRIVATE_ADDRESSES", "allowed"));
    let worker = Workerd::start(&variables).await;
    let component = WasmtimeServe::start(&variables).await;
    for (id, edge) in (1u32..).zip([worker.url(), component.url()]) {
        let order = Order {
            secret: SECRET,
            text: "@roost hello",
            id: id.into(),
            now: office.edge.now(),
            place: Place {
                number: id,
                installation: Some(77),
                ..Place::default()
            },
            ..Order::default()
        };
        let signed = Fixture::GithubIssueComment.make(&order);
        let post = reqwest::Client::new()
            .post(format!("{edge}/hooks/main/github"))
            .headers(signed.headers)
            .body(signed.body);
        assert_eq!(post.send().await.unwrap().status().as_u16(), 200);
        // It is acknowledged with a token that GitHub gave for a JWT that the App's public key fits.
        github
            .until(|made| (made.len() >= id as usize).then_some(()))
            .await;
    }
}

/// A crowd of webhooks, which the runtime spreads over instances that know nothing of each other: each is taken, at once or
/// when it is sent again as the edge asks, and all are there once.
#[tokio::test]
async fn a_component_takes_a_crowd_of_webhooks() {
    const CROWD: u32 = 64;
    const EACH: u32 = 3;
    let server = Sqld::start_with(&Sqld::FEW_CONNECTIONS).await;
    let url = server.url();
    let office = Office::open(&DatabaseAddress::Server {
        url: url.clone(),
        token: None,
    })
    .await;
    let (github, telegram) = ("http://127.0.0.1:9".to_owned(), "http://127.0.0.1:9".to_owned());
    office.connect(&Channels { github, telegram }).await;
    office.employ("roost", "scripted/none").await;
    let component = WasmtimeServe::start(&variables(&url)).await;
    let (client, edge, now) = (reqwest::Client::new(), component.url(), office.edge.now());
    let sender = async |first: u32| {
        for id in first..first + EACH {
            let signed = Fixture::GithubIssueComment.make(&Order {
                secret: SECRET,
                text: "@roost hello",
                id: id.into(),
                now,
                place: Place {
                    number: id,
                    ..Place::default()
                },
                ..Order::default()
            });
            let post = client
                .post(format!("{edge}/hooks/main/github"))
                .headers(signed.headers)
                .body(signed.body);
            loop {
                let post = post.try_clone().unwrap();
                match post.send().await.unwrap().status().as_u16() {
                    200 => break,
                    status => assert_eq!(status, 503),
                }
            }
        }
    };
    let senders = (0..CROWD).map(|number| sender(1 + number * EACH));
    tokio::time::timeout(Duration::from_secs(60), join_all(senders))
        .await
        .unwrap();
    let stored = "SELECT count(*) FROM deliveries WHERE workspace_id = ?1 AND verdict = 'accepted'";
    assert_eq!(office.count(stored).await, i64::from(CROWD * EACH));
}

fn variables(database: &str) -> [(&str, &str); 3] {
    [
        ("ROOST_DATABASE_URL", database),
        ("ROOST_MASTER_KEY", MASTER_KEY),
        ("ROOST_PUBLIC_URL", "http://127.0.0.1/"),
    ]
}

/// The status of `/healthz`, and its error code or else its own word.
async fn health(edge: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{edge}/healthz")).await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let word = body["error"]["code"]
        .as_str()
        .or(body["status"].as_str())
        .unwrap();
    (status, word.to_owned())
}

#[test]
fn wrangler_builds_the_worker_and_would_deploy_it() {
    let (toolbox, out) = (roost_tests::toolbox(), tempfile::tempdir().unwrap());
    let wrangler = toolbox.npm_file("wrangler/bin/wrangler.js").unwrap();
    let said = std::process::Command::new(toolbox.node().unwrap())
        .arg(wrangler)
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(out.path())
        .current_dir(toolbox.workspace())
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CI", "true")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(text.contains("Total Upload"), "{text}");
}
