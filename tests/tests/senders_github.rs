//! The edge's GitHub sender against the GitHub stand-in, over real HTTP.

use std::time::Duration;

use roost_edge::{
    edge::PrivateAddresses,
    host::native::{DatabaseAddress, ports},
    integration::{GithubSettings, Integration, Secrets, Settings},
    outbox::{
        Senders,
        channel::{Outcome, Sending, send},
    },
    ports::Ports,
};
use roost_runner::standin::github::{GithubConfig, GithubFault, GithubServer, MadeKind};
use roost_shared::{
    EffectId, IntegrationId,
    effect::Effect,
    work::{GithubSubject, ReplyTo},
};

const PRIVATE_KEY: &str = include_str!("keys/app.pem");
const PUBLIC_KEY: &str = include_str!("keys/app.pub.pem");

struct Stage {
    github: GithubServer,
    ports: Ports,
    integration: Integration,
    secrets: Secrets,
    senders: Senders,
    _directory: tempfile::TempDir,
}

impl Stage {
    async fn new(private_key: Option<&str>, token: Option<&str>) -> Self {
        let github = GithubServer::start(GithubConfig {
            app_public_key: Some(PUBLIC_KEY.to_owned()),
            token: Some("ghp_good".to_owned()),
            repositories: None,
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let database = directory.path().join("roost.db");
        let settings = GithubSettings {
            api_url: github.url(),
            app_id: private_key.map(|_| "4711".to_owned()),
            bot_login: "roost[bot]".to_owned(),
            repositories: Vec::new(),
        };
        Self {
            ports: ports(&DatabaseAddress::File(database)).unwrap_or_else(|error| panic!("{error}")),
            integration: Integration {
                id: IntegrationId::from_bytes([7; 16]),
                name: "github".to_owned(),
                enabled: true,
                settings: Settings::Github(settings),
            },
            secrets: Secrets::Github {
                webhook_secret: "s3cret".to_owned(),
                private_key: private_key.map(str::to_owned),
                token: token.map(str::to_owned),
            },
            senders: Senders::default(),
            _directory: directory,
            github,
        }
    }

    async fn send(&self, number: u8, effect: &Effect, private_addresses: PrivateAddresses) -> Outcome {
        let sending = Sending {
            ports: &self.ports,
            integration: &self.integration,
            secrets: &self.secrets,
            effect: EffectId::from_bytes([number; 16]),
            senders: &self.senders,
            private_addresses,
        };
        send(&sending, effect).await
    }
}

fn to(subject: GithubSubject, thread: Option<u64>) -> ReplyTo {
    ReplyTo::Github {
        repository: "octo/repo".to_owned(),
        number: 12,
        subject,
        thread,
        installation: Some(77),
    }
}

fn reply(text: &str) -> Effect {
    Effect::Reply {
        to: to(GithubSubject::IssueComment(900), None),
        text: text.to_owned(),
    }
}

#[tokio::test]
async fn the_app_comments_reacts_and_answers_in_threads_with_one_narrowed_token() {
    let stage = Stage::new(Some(PRIVATE_KEY), None).await;
    let allowed = PrivateAddresses::Allowed;
    let acknowledge = Effect::Acknowledge {
        to: to(GithubSubject::IssueComment(900), None),
    };
    assert!(matches!(
        stage.send(1, &acknowledge, allowed).await,
        Outcome::Sent { .. }
    ));
    let Outcome::Sent { external_id } = stage.send(2, &reply("Done."), allowed).await else {
        panic!("not sent");
    };
    let in_thread = Effect::Reply {
        to: to(GithubSubject::ReviewComment(901), Some(800)),
        text: "Because.".to_owned(),
    };
    assert!(matches!(
        stage.send(3, &in_thread, allowed).await,
        Outcome::Sent { .. }
    ));

    let made = stage.github.made();
    let kinds: Vec<_> = made.iter().map(|made| (made.kind, made.target)).collect();
    assert_eq!(
        kinds,
        [
            (MadeKind::Reaction, 900),
            (MadeKind::Comment, 12),
            (MadeKind::ReviewReply, 12)
        ]
    );
    assert_eq!(made[0].content, "eyes");
    assert_eq!(external_id, Some(made[1].id.to_string()));
    let marker = format!("Done.\n\n<!-- roost:{} -->", EffectId::from_bytes([2; 16]));
    assert_eq!(made[1].content, marker);
    let requests = stage.github.requests();
    let tokens: Vec<_> = requests
        .iter()
        .filter(|(path, _)| path.ends_with("access_tokens"))
        .collect();
    assert_eq!(tokens.len(), 1, "the token is kept between calls");
    assert_eq!(tokens[0].1["repositories"], serde_json::json!(["repo"]));
    assert_eq!(tokens[0].1["permissions"]["issues"], "write");
}

#[tokio::test]
async fn failures_are_told_for_what_they_are() {
    let stage = Stage::new(None, Some("ghp_good")).await;
    let allowed = PrivateAddresses::Allowed;
    let wait = Duration::from_secs(33);
    stage
        .github
        .fail_next(GithubFault::SecondaryLimit { retry_after: wait });
    match stage.send(1, &reply("x"), allowed).await {
        Outcome::Retry { after, .. } => assert_eq!(after, Some(wait)),
        outcome => panic!("{outcome:?}"),
    }
    stage.github.fail_next(GithubFault::ErrorAfter);
    assert!(matches!(
        stage.send(1, &reply("x"), allowed).await,
        Outcome::Unknown { .. }
    ));
    assert_eq!(stage.github.comments().len(), 1);
    stage.github.fail_next(GithubFault::ErrorBefore);
    let acknowledge = Effect::Acknowledge {
        to: to(GithubSubject::Issue, None),
    };
    assert!(matches!(
        stage.send(2, &acknowledge, allowed).await,
        Outcome::Retry { .. }
    ));
    match stage.send(3, &reply("x"), PrivateAddresses::Refused).await {
        Outcome::Failed { code, .. } => assert_eq!(code, "address_private"),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn wrong_credentials_end_the_matter() {
    let code = |outcome| match outcome {
        Outcome::Failed { code, .. } => code,
        outcome => panic!("{outcome:?}"),
    };
    let allowed = PrivateAddresses::Allowed;
    let stage = Stage::new(None, Some("ghp_wrong")).await;
    assert_eq!(
        code(stage.send(1, &reply("x"), allowed).await),
        "channel_unauthorized"
    );
    let stage = Stage::new(None, None).await;
    assert_eq!(
        code(stage.send(1, &reply("x"), allowed).await),
        "credential_missing"
    );
    let stage = Stage::new(Some("no key"), None).await;
    assert_eq!(
        code(stage.send(1, &reply("x"), allowed).await),
        "private_key_unusable"
    );
}
