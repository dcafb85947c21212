//! What a GitHub call is authorised with: the integration's own token, or a token of the App's installation.
//!
//! Invariant: an installation token can do no more than its purpose needs, in one repository. One to talk with leaves this
//! process's memory nowhere but in the calls it authorises; one for git goes to the runner that drives the run.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roost_shared::{IntegrationId, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{explain, rate_limit};
use crate::{
    integration::GithubSettings,
    outbox::{
        call::{self, Twice, secret_value},
        channel::{Outcome, Sending},
    },
    ports::Ports,
};

/// Tokens are not used in their last minutes, so that none expires on its way.
const SPARE: Duration = Duration::from_secs(5 * 60);

/// The most tokens kept; more means that most of them are not used again.
const MOST: usize = 1_000;

/// Installation tokens by what they are for. All of it can be lost.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Key, Token>>);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    integration: IntegrationId,
    installation: u64,
    repository: String,
    purpose: Purpose,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Comments and reactions.
    Talk,
    /// Cloning and fetching.
    Read,
    /// Cloning, fetching and pushing, and opening pull requests.
    Push,
}

impl Purpose {
    /// What GitHub calls it.
    fn permissions(self) -> Value {
        match self {
            Self::Talk => json!({"issues": "write", "pull_requests": "write"}),
            Self::Read => json!({"contents": "read"}),
            Self::Push => json!({"contents": "write", "pull_requests": "write"}),
        }
    }

    /// Its name in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Talk => "talk",
            Self::Read => "read",
            Self::Push => "push",
        }
    }

    /// What the App must be allowed, in words.
    fn rights(self) -> &'static str {
        match self {
            Self::Talk => "write access to issues and to pull requests",
            Self::Read => "read access to contents",
            Self::Push => "write access to contents and to pull requests",
        }
    }
}

#[derive(Clone)]
struct Token {
    token: String,
    expires_at: Option<UnixMillis>,
    use_until: UnixMillis,
}

/// What a call is authorised with.
pub(crate) struct Credential {
    pub(crate) token: String,
    /// When an installation's token ends.
    pub(crate) expires_at: Option<UnixMillis>,
    /// Where the token is kept, if it is an installation's.
    pub(super) kept_as: Option<Key>,
}

/// Who asks for a token, and with what.
pub(crate) struct Asking<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) tokens: &'a Tokens,
    pub(crate) integration: IntegrationId,
    pub(crate) settings: &'a GithubSettings,
    pub(crate) private_key: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
}

impl<'a> Asking<'a> {
    /// For one effect.
    pub(super) fn of(
        sending: &Sending<'a>,
        settings: &'a GithubSettings,
        (private_key, token): (Option<&'a str>, Option<&'a str>),
    ) -> Self {
        Self {
            ports: sending.ports,
            tokens: &sending.senders.github,
            integration: sending.integration.id,
            settings,
            private_key,
            token,
        }
    }
}

impl Tokens {
    fn get(&self, key: &Key, now: UnixMillis) -> Option<Token> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|kept| now < kept.use_until).cloned()
    }

    fn put(&self, key: Key, token: Token, now: UnixMillis) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST {
            tokens.retain(|_, kept| now < kept.use_until);
        }
        if tokens.len() >= MOST {
            tokens.clear();
        }
        tokens.insert(key, token);
    }

    /// Forgets a token that GitHub no longer takes.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The credential for calls about `repository`.
pub(crate) async fn credential(
    asking: &Asking<'_>,
    purpose: Purpose,
    repository: &str,
    installation: Option<u64>,
) -> Result<Credential, Outcome> {
    let app = asking.settings.app_id.as_deref();
    match (app, asking.private_key, installation, asking.token) {
        (Some(app), Some(private_key), Some(installation), _) => {
            let key = Key {
                integration: asking.integration,
                installation,
                repository: repository.to_owned(),
                purpose,
            };
            let now = asking.ports.clock.now();
            let token = match asking.tokens.get(&key, now) {
                Some(token) => token,
                None => {
                    let made = make(asking, app, private_key, &key).await?;
                    asking.tokens.put(key.clone(), made.clone(), now);
                    made
                }
            };
            Ok(Credential {
                token: token.token,
                expires_at: token.expires_at,
                kept_as: Some(key),
            })
        }
        (_, _, _, Some(token)) => Ok(Credential {
            token: token.to_owned(),
            expires_at: None,
            kept_as: None,
        }),
        (Some(_), Some(_), None, None) => Err(failed(
            "installation_missing",
            "the event did not come through the App's installation: receive webhooks as the App, or enter a token",
        )),
        _ => Err(failed(
            "credential_missing",
            "the integration has neither App id and private key nor a token: enter one of them",
        )),
    }
}

fn failed(code: &'static str, reason: &str) -> Outcome {
    Outcome::Failed {
        code,
        reason: reason.to_owned(),
    }
}

/// Asks GitHub for an installation token. Asking twice does no harm, so every failure that may pass is tried again.
async fn make(asking: &Asking<'_>, app: &str, private_key: &str, key: &Key) -> Result<Token, Outcome> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
        expires_at: String,
    }
    let jwt = app_jwt(app, private_key, asking.ports.clock.now())?;
    let api = asking.settings.api_url.trim_end_matches('/');
    let url = format!("{api}/app/installations/{}/access_tokens", key.installation);
    let name = key.repository.split_once('/').map_or("", |(_, name)| name);
    let narrowed = json!({
        "repositories": [name],
        "permissions": key.purpose.permissions(),
    });
    let mut request = call::post(&url, narrowed.to_string().into_bytes())?;
    super::set_headers(&mut request);
    if let Some(value) = secret_value(&format!("Bearer {jwt}")) {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let answer = call::call(asking.ports, request, "")
        .await
        .map_err(|error| Twice::IsOnce.unanswered(error))?;
    let now = asking.ports.clock.now();
    if let Some(after) = rate_limit(&answer, now) {
        return Err(Outcome::Retry {
            after: Some(after),
            reason: "GitHub limits how often the App may ask for a token".to_owned(),
        });
    }
    let words = call::words(answer.body());
    match answer.status() {
        StatusCode::CREATED => {
            let made: Answer = serde_json::from_slice(answer.body()).map_err(|_| Outcome::Retry {
                after: None,
                reason: "GitHub's answer to the request for a token makes no sense".to_owned(),
            })?;
            let end = made.expires_at.parse::<jiff::Timestamp>();
            let expires_at = end.map(|end| UnixMillis(end.as_millisecond())).ok();
            Ok(Token {
                token: made.token,
                // A token whose end is not understood is used once.
                use_until: expires_at.map_or(now, |end| end - SPARE),
                expires_at: expires_at.or(Some(now)),
            })
        }
        status if status.is_server_error() => Err(Outcome::Retry {
            after: call::retry_after(answer.headers()),
            reason: format!("GitHub is in trouble ({status}) and gave no token"),
        }),
        StatusCode::UNAUTHORIZED => Err(failed(
            "channel_unauthorized",
            &format!(
                "GitHub does not know the App ({words}): check App id, private key and this machine's clock"
            ),
        )),
        StatusCode::NOT_FOUND => Err(failed(
            "channel_target_gone",
            "the App is no longer installed there: install it again",
        )),
        StatusCode::UNPROCESSABLE_ENTITY => Err(failed(
            "channel_forbidden",
            &format!(
                "GitHub gave no token ({words}): give the App {}, and install it on {}",
                key.purpose.rights(),
                key.repository
            ),
        )),
        status => Err(explain(status, &words)),
    }
}

/// The JWT of the App that asks.
pub(super) fn jwt(asking: &Asking<'_>) -> Result<String, Outcome> {
    match (asking.settings.app_id.as_deref(), asking.private_key) {
        (Some(app), Some(private_key)) => app_jwt(app, private_key, asking.ports.clock.now()),
        _ => Err(failed(
            "credential_missing",
            "the integration has no App id and private key to ask with: enter them",
        )),
    }
}

/// The JWT that proves to be the App, good for less than the 10 minutes GitHub allows. It is dated back a minute
/// because GitHub refuses what comes from the future.
fn app_jwt(app: &str, private_key: &str, now: UnixMillis) -> Result<String, Outcome> {
    #[derive(Serialize)]
    struct Claims<'a> {
        iat: i64,
        exp: i64,
        iss: &'a str,
    }
    let unusable = |_| {
        failed(
            "private_key_unusable",
            "the App's private key is not an RSA key in PEM: enter the file GitHub gave you, whole",
        )
    };
    // Keys that came through an environment variable often have their line ends written out.
    let pem = private_key.replace("\\n", "\n");
    let key = EncodingKey::from_rsa_pem(pem.trim().as_bytes()).map_err(unusable)?;
    let claims = Claims {
        iat: now.as_secs() - 60,
        exp: now.as_secs() + 530,
        iss: app,
    };
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).map_err(unusable)
}
