//! What `roost send` sends is proved and heard by the edge's ingress.

use roost_edge::{
    ingress::channel::{Request, Verdict, normalise, verify},
    integration::{GenericSettings, GithubSettings, Secrets, Settings, TelegramSettings},
};
use roost_runner::fixture::{Fixture, Order};

fn integration(fixture: Fixture, secret: &str) -> (Settings, Secrets) {
    let secret = secret.to_owned();
    match fixture {
        Fixture::GithubIssueComment | Fixture::GithubIssues | Fixture::GithubReviewComment => (
            Settings::Github(GithubSettings {
                api_url: "https://api.github.com".to_owned(),
                app_id: None,
                bot_login: "roost[bot]".to_owned(),
                repositories: Vec::new(),
            }),
            Secrets::Github {
                webhook_secret: secret,
                private_key: None,
                token: None,
            },
        ),
        Fixture::TelegramMessage => (
            Settings::Telegram(TelegramSettings {
                api_url: "https://api.telegram.org".to_owned(),
                bot_username: "roost_bot".to_owned(),
                members: Vec::new(),
                keep_webhook: false,
            }),
            Secrets::Telegram {
                secret_token: secret,
                bot_token: "1:a".to_owned(),
            },
        ),
        Fixture::GenericMessage => (
            Settings::Generic(GenericSettings::default()),
            Secrets::Generic {
                signing: vec![secret],
            },
        ),
    }
}

#[test]
fn every_fixture_is_proved_and_heard() {
    for fixture in Fixture::ALL {
        for secret in ["s3cret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let (settings, secrets) = integration(fixture, secret);
            let order = Order {
                secret,
                text: "@roost please look\n\nat this",
                id: 4711,
                ..Order::default()
            };
            let sent = fixture.make(&order);
            let request = Request {
                headers: &sent.headers,
                body: &sent.body,
                now: order.now,
            };
            let verified = verify(&settings, &secrets, request)
                .unwrap_or_else(|error| panic!("{}: {error}", fixture.name()));
            assert!(verified.dedupe_key.contains("4711") || verified.dedupe_key.ends_with("1267"));
            let Ok(Verdict::Heard(heard)) = normalise(&settings, request) else {
                panic!("{} is not heard", fixture.name());
            };
            assert_eq!(heard.text.trim(), order.text, "{}", fixture.name());
            assert!(heard.to_bot, "{}", fixture.name());
        }
    }
}

#[test]
fn a_github_event_weighs_what_real_ones_do() {
    let size = Fixture::GithubIssueComment.make(&Order::default()).body.len();
    assert!((7_000..10_000).contains(&size), "{size} bytes");
}
