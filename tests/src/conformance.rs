//! The ingress conformance suite: what every host does with a webhook, whatever its database. Written once.
//!
//! It knows an edge by its address alone, and looks at what was stored through the same database.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, HeaderValue},
};
use roost_edge::{auth::token::Audience, integration::Secrets, setup};
use roost_runner::fixture::{Fixture, Order, Place, Signed};
use roost_shared::UnixMillis;
use serde_json::{Value, json};

use crate::office::{Channels, Office, SECRET};

/// Messages that began a run or joined one.
const TAKEN_UP: &str = "SELECT (SELECT count(*) FROM runs WHERE workspace_id = ?1) \
     + (SELECT count(*) FROM joined WHERE workspace_id = ?1)";
const DELIVERIES: &str = "SELECT count(*) FROM deliveries WHERE workspace_id = ?1";

/// An edge under test.
pub struct Target<'a> {
    /// What it is called in the output.
    pub name: &'a str,
    /// Its address.
    pub url: &'a str,
    /// Its database.
    pub office: &'a Office,
}

/// Prepares an empty database for the suite; to be done before the edge under test starts.
pub async fn prepare(office: &Office) {
    office.connect(&Channels::default()).await;
    office.employ("roost", "scripted/none").await;
}

/// Runs every case, one after the other.
///
/// # Panics
/// When one fails.
pub async fn run(target: &Target<'_>) {
    let suite = Suite {
        http: reqwest::Client::new(),
        target,
    };
    macro_rules! cases {
        ($($case:ident)*) => {$(
            println!("{}: {}", target.name, stringify!($case).replace('_', " "));
            suite.$case().await;
        )*};
    }
    cases! {
        every_channel_is_accepted
        a_redelivery_is_one_delivery_however_many_come_at_once
        bad_signatures_are_refused
        bodies_are_bounded_and_must_make_sense
        headers_may_hold_any_bytes
        unknown_and_disabled_integrations_are_refused
        what_is_not_for_an_agent_is_stored_as_ignored
        a_changed_secret_counts_at_once
        a_runner_leases_journals_and_completes
        a_runner_without_a_good_token_is_refused
    }
}

struct Suite<'a> {
    http: reqwest::Client,
    target: &'a Target<'a>,
}

/// What an edge answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("an answer ends");
        Self {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    fn is_refusal(&self, status: StatusCode, code: &str) {
        assert_eq!(
            (self.status, &self.body["error"]["code"]),
            (status, &json!(code)),
            "{}",
            self.body
        );
        let message = self.body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.len() > 20, "a refusal says what to do: {message:?}");
    }

    fn is(&self, verdict: &str) -> &Self {
        assert_eq!(
            (self.status, &self.body["verdict"]),
            (StatusCode::OK, &json!(verdict)),
            "{}",
            self.body
        );
        self
    }
}

impl Suite<'_> {
    fn now(&self) -> UnixMillis {
        self.target.office.edge.now()
    }

    fn order<'o>(&self, id: u64, text: &'o str) -> Order<'o> {
        Order {
            secret: SECRET,
            text,
            id,
            now: self.now(),
            ..Order::default()
        }
    }

    async fn post(&self, integration: &str, signed: Signed) -> Answer {
        let url = format!("{}/hooks/main/{integration}", self.target.url);
        let sent = self
            .http
            .post(url)
            .headers(signed.headers)
            .body(signed.body)
            .send();
        Answer::of(sent.await.expect("the edge answers")).await
    }

    async fn runner(&self, token: &str, path: &str, body: Value) -> Answer {
        let url = format!("{}/runner/v1{path}", self.target.url);
        let sent = self.http.post(url).bearer_auth(token).json(&body).send();
        Answer::of(sent.await.expect("the edge answers")).await
    }

    async fn every_channel_is_accepted(&self) {
        let before = self.target.office.count(TAKEN_UP).await;
        let fixtures = [
            ("github", Fixture::GithubIssueComment),
            ("github", Fixture::GithubIssues),
            ("github", Fixture::GithubReviewComment),
            ("telegram", Fixture::TelegramMessage),
            ("generic", Fixture::GenericMessage),
        ];
        for (id, (integration, fixture)) in (100..).zip(fixtures) {
            let answer = self
                .post(integration, fixture.make(&self.order(id, "@roost please help")))
                .await;
            assert_eq!(
                answer.is("accepted").body["runs"].as_array().map(Vec::len),
                Some(1),
                "{}",
                answer.body
            );
        }
        let after = self.target.office.count(TAKEN_UP).await;
        assert_eq!(after - before, 5);
        let acknowledgements =
            "SELECT count(*) FROM effects WHERE workspace_id = ?1 AND effect LIKE '%\"acknowledge\"%'";
        assert_eq!(
            self.target.office.count(acknowledgements).await,
            4,
            "all but the generic one are acknowledged"
        );
    }

    async fn a_redelivery_is_one_delivery_however_many_come_at_once(&self) {
        let order = self.order(200, "@roost once");
        let signed = Fixture::GithubIssueComment.make(&order);
        let answers = join_all((0..12).map(|_| self.post("github", signed.clone()))).await;
        let accepted = answers
            .iter()
            .filter(|answer| answer.body["verdict"] == "accepted")
            .count();
        let duplicates = answers
            .iter()
            .filter(|answer| answer.body["verdict"] == "duplicate")
            .count();
        assert_eq!((accepted, duplicates), (1, 11));
        self.post("github", signed).await.is("duplicate");
    }

    async fn bad_signatures_are_refused(&self) {
        let unauthorized = StatusCode::UNAUTHORIZED;
        let before = self.target.office.count(DELIVERIES).await;
        for (integration, fixture, header) in [
            ("github", Fixture::GithubIssueComment, "x-hub-signature-256"),
            (
                "telegram",
                Fixture::TelegramMessage,
                "x-telegram-bot-api-secret-token",
            ),
            ("generic", Fixture::GenericMessage, "webhook-signature"),
        ] {
            let mut missing = fixture.make(&self.order(300, "@roost hi"));
            missing.headers.remove(header);
            self.post(integration, missing)
                .await
                .is_refusal(unauthorized, "signature_missing");
            let wrong = Order {
                secret: "whsec_YW5vdGhlciBzZWNyZXQ=",
                ..self.order(300, "@roost hi")
            };
            self.post(integration, fixture.make(&wrong))
                .await
                .is_refusal(unauthorized, "signature_wrong");
        }
        let hour_ago = Order {
            now: self.now() - Duration::from_secs(3600),
            ..self.order(300, "@roost hi")
        };
        let old = Fixture::GenericMessage.make(&hour_ago);
        self.post("generic", old)
            .await
            .is_refusal(unauthorized, "signature_old");
        let mut changed = Fixture::GithubIssueComment.make(&self.order(300, "@roost hi"));
        changed.body = [changed.body.as_ref(), b" "].concat().into();
        self.post("github", changed)
            .await
            .is_refusal(unauthorized, "signature_wrong");
        assert_eq!(
            self.target.office.count(DELIVERIES).await,
            before,
            "what is not signed is not stored"
        );
    }

    async fn bodies_are_bounded_and_must_make_sense(&self) {
        let text = "x".repeat((1 << 20) + 1);
        let large = Fixture::GenericMessage.make(&self.order(400, &text));
        self.post("generic", large)
            .await
            .is_refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
        let text = format!("@roost {}", "y".repeat(900 << 10));
        let allowed = Fixture::GithubIssueComment.make(&self.order(401, &text));
        self.post("github", allowed).await.is("accepted");
        let broken = roost_runner::fixture::sign_github(SECRET, "issues", "402", r#"{"action": "#.into());
        self.post("github", broken)
            .await
            .is_refusal(StatusCode::BAD_REQUEST, "body_malformed");
    }

    /// Whoever sends one needs no secret; an edge that falls over it would fall for everybody.
    async fn headers_may_hold_any_bytes(&self) {
        let mut signed = Fixture::GithubIssueComment.make(&self.order(450, "@roost odd headers"));
        let odd = HeaderValue::from_bytes("ä \u{1f426}".as_bytes()).expect("a value");
        signed.headers.insert("x-odd", odd.clone());
        signed.headers.insert("user-agent", odd);
        self.post("github", signed).await.is("accepted");
        let bearer = HeaderValue::from_bytes("Bearer schlüssel".as_bytes()).expect("a value");
        let url = format!("{}/runner/v1/tick", self.target.url);
        let sent = self.http.post(url).header("authorization", bearer).send();
        let answer = Answer::of(sent.await.expect("the edge answers")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    }

    async fn unknown_and_disabled_integrations_are_refused(&self) {
        let signed = Fixture::GithubIssueComment.make(&self.order(500, "@roost hi"));
        self.post("nobody", signed.clone())
            .await
            .is_refusal(StatusCode::NOT_FOUND, "not_found");
        let url = format!("{}/hooks/elsewhere/github", self.target.url);
        let sent = self
            .http
            .post(url)
            .headers(signed.headers.clone())
            .body(signed.body.clone())
            .send();
        Answer::of(sent.await.expect("an answer"))
            .await
            .is_refusal(StatusCode::NOT_FOUND, "not_found");

        self.edit("hmac", |draft| draft.enabled = false).await;
        let refused = self.post("hmac", signed.clone()).await;
        refused.is_refusal(StatusCode::FORBIDDEN, "integration_disabled");
        self.edit("hmac", |draft| draft.enabled = true).await;
        self.post("hmac", signed)
            .await
            .is_refusal(StatusCode::UNAUTHORIZED, "signature_missing");
    }

    async fn what_is_not_for_an_agent_is_stored_as_ignored(&self) {
        let ping = roost_runner::fixture::sign_github(
            SECRET,
            "ping",
            "600",
            r#"{"zen": "Keep it.", "hook_id": 1}"#.into(),
        );
        let answer = self.post("github", ping).await;
        assert!(
            answer.is("ignored").body["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        );
        let own = Order {
            author: crate::office::BOT,
            ..self.order(601, "@roost hi")
        };
        self.post("github", Fixture::GithubIssueComment.make(&own))
            .await
            .is("ignored");
        let aside = self
            .post(
                "github",
                Fixture::GithubIssueComment.make(&self.order(602, "just talking")),
            )
            .await;
        assert_eq!(aside.is("ignored").body["reason"], "no agent listens for this");
        let stored = "SELECT count(*) FROM deliveries WHERE workspace_id = ?1 AND verdict = 'ignored' AND reason <> ''";
        assert_eq!(self.target.office.count(stored).await, 3);
    }

    async fn a_changed_secret_counts_at_once(&self) {
        let old = Fixture::GenericMessage.make(&self.order(700, "@roost before"));
        self.post("generic", old).await.is("accepted");
        let secret = "whsec_bmV3LXNlY3JldC1vZi10aGUtc3VpdGU=";
        let both = vec![secret.to_owned(), SECRET.to_owned()];
        self.edit("generic", |draft| {
            draft.secrets = Some(Secrets::Generic { signing: both });
        })
        .await;
        let new = Order {
            secret,
            ..self.order(701, "@roost after")
        };
        self.post("generic", Fixture::GenericMessage.make(&new))
            .await
            .is("accepted");
        let old = Fixture::GenericMessage.make(&self.order(702, "@roost still"));
        self.post("generic", old).await.is("accepted");
    }

    async fn a_runner_leases_journals_and_completes(&self) {
        let token = self
            .target
            .office
            .token(Audience::Runner, "suite", Duration::from_secs(600));
        // A conversation of its own, so that no earlier case's run stands before it in the lane.
        let place = Place {
            number: 4711,
            ..Place::default()
        };
        let order = Order {
            place,
            ..self.order(800, "@roost over to you")
        };
        let accepted = self
            .post("github", Fixture::GithubIssueComment.make(&order))
            .await;
        let run = accepted.is("accepted").body["runs"][0]
            .as_str()
            .expect("a run")
            .to_owned();

        let poll = json!({"runner": "one", "room": 64, "wait_ms": 0});
        let (first, second) = tokio::join!(
            self.runner(&token, "/poll", poll.clone()),
            self.runner(
                &token,
                "/poll",
                json!({"runner": "two", "room": 64, "wait_ms": 0})
            ),
        );
        let leases = |answer: &Answer| answer.body["leases"].as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = [leases(&first), leases(&second)].concat();
        let ours: Vec<&Value> = all.iter().filter(|lease| lease["run"] == json!(run)).collect();
        assert_eq!(ours.len(), 1, "one runner has it: {} {}", first.body, second.body);
        assert_eq!(ours[0]["journal"][0]["work_item"]["text"], "@roost over to you");

        let events = json!([{"type": "model_failed", "code": "x", "message": "x"}, {"type": "completed", "reply": "done"}]);
        let append = json!({"epoch": ours[0]["epoch"], "expected_seq": 2, "events": events});
        let path = format!("/runs/{run}/events");
        let written = self.runner(&token, &path, append.clone()).await;
        assert_eq!(
            (written.status, &written.body["next_seq"]),
            (StatusCode::OK, &json!(4)),
            "{}",
            written.body
        );
        let again = self.runner(&token, &path, append).await;
        assert_eq!(
            again.status,
            StatusCode::OK,
            "the same append twice is one append"
        );
        let late = json!({"epoch": 1, "expected_seq": 4, "events": [{"type": "completed"}]});
        self.runner(&token, &path, late)
            .await
            .is_refusal(StatusCode::CONFLICT, "stale_lease");
        let replies =
            "SELECT count(*) FROM effects WHERE workspace_id = ?1 AND idempotency_key LIKE '%/reply/%'";
        assert_eq!(self.target.office.count(replies).await, 1);
    }

    async fn a_runner_without_a_good_token_is_refused(&self) {
        let unauthorized = StatusCode::UNAUTHORIZED;
        let poll = json!({"runner": "one", "room": 1});
        let office = self.target.office;
        let good = office.token(Audience::Runner, "suite", Duration::from_secs(60));
        self.runner(&format!("{good}x"), "/poll", poll.clone())
            .await
            .is_refusal(unauthorized, "token_invalid");
        let session = office.token(Audience::Session, "suite", Duration::from_secs(60));
        self.runner(&session, "/poll", poll.clone())
            .await
            .is_refusal(unauthorized, "token_invalid");
        let expired = office.expired_token(Audience::Runner, "suite");
        self.runner(&expired, "/poll", poll.clone())
            .await
            .is_refusal(unauthorized, "token_expired");
        let url = format!("{}/runner/v1/poll", self.target.url);
        let bare = Answer::of(self.http.post(url).json(&poll).send().await.expect("an answer")).await;
        bare.is_refusal(unauthorized, "unauthorized");
    }

    /// Edits an integration as another edge of the deployment would.
    async fn edit(&self, name: &str, change: impl FnOnce(&mut setup::IntegrationDraft)) {
        let office = self.target.office;
        let config = office
            .edge
            .configs
            .reload(&office.scope)
            .await
            .expect("the set-up can be read");
        let stored = config.by_name(name).expect("the integration exists");
        let mut draft = setup::IntegrationDraft {
            name: name.into(),
            settings: stored.integration.settings.clone(),
            secrets: None,
            enabled: stored.integration.enabled,
        };
        change(&mut draft);
        let id = stored.integration.id;
        setup::update_integration(&office.edge, &office.scope, id, draft)
            .await
            .expect("the edit is stored");
    }
}

/// What every edge does while its database is away, and once it is back.
///
/// # Panics
/// When it does something else.
pub async fn survives_an_outage(target: &Target<'_>, stop: impl AsyncFnOnce(), start: impl AsyncFnOnce()) {
    let suite = Suite {
        http: reqwest::Client::new(),
        target,
    };
    println!("{}: an outage of the database loses nothing", target.name);
    let signed = Fixture::GithubIssueComment.make(&suite.order(900, "@roost are you there?"));
    let before = target.office.count(DELIVERIES).await;
    stop().await;
    let answer = suite.post("github", signed.clone()).await;
    answer.is_refusal(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    start().await;
    assert_eq!(
        target.office.count(DELIVERIES).await,
        before,
        "nothing half-written"
    );
    suite.post("github", signed).await.is("accepted");
    assert_eq!(target.office.count(DELIVERIES).await, before + 1);
}
