//! What GitHub tells of its webhooks: the deliveries it made in the last three days, and each of them whole. As the App, or
//! with a token for a repository's or an organisation's webhook.
//! [REST API](https://docs.github.com/en/rest/apps/webhooks), [of repositories](https://docs.github.com/en/rest/repos/webhooks),
//! [of organisations](https://docs.github.com/en/rest/orgs/webhooks).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use roost_shared::UnixMillis;
use serde::Deserialize;
use serde_json::Value;

use super::{Asking, explain, rate_limit, set_headers, token};
use crate::{
    ingress::github::is_full_name,
    outbox::{
        call::{self, Twice, secret_value},
        channel::Outcome,
    },
};

/// Deliveries of a page.
const PER_PAGE: u32 = 100;

/// A webhook whose deliveries can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hook {
    /// The App's.
    App,
    /// A repository's.
    Repository {
        /// `owner/name`.
        repository: String,
        /// GitHub's id of the webhook.
        id: u64,
    },
    /// An organisation's.
    Organisation {
        /// Its name.
        organisation: String,
        /// GitHub's id of the webhook.
        id: u64,
    },
}

/// Whether it names what can have a webhook: a repository, `owner/name`, or an organisation.
pub(crate) fn has_webhooks(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_organisation = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_plain);
    is_organisation || is_full_name(name)
}

/// A delivery as GitHub lists it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listed {
    /// GitHub's id of this one attempt.
    pub(crate) id: u64,
    /// The event's: all attempts have the same, in `X-GitHub-Delivery`.
    pub(crate) guid: String,
    delivered_at: String,
    status_code: i64,
    pub(crate) event: String,
}

/// A delivery as it was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) payload: Value,
}

/// A page of deliveries, newest first, and the next page's cursor.
pub(crate) struct Page {
    pub(crate) deliveries: Vec<Listed>,
    pub(crate) next: Option<String>,
}

impl Listed {
    /// When it was delivered, or failed to be.
    pub(crate) fn at(&self) -> Option<UnixMillis> {
        let at: jiff::Timestamp = self.delivered_at.parse().ok()?;
        Some(UnixMillis(at.as_millisecond()))
    }

    /// Whether the receiver did not say that it has it.
    pub(crate) fn failed(&self) -> bool {
        !(200..300).contains(&self.status_code)
    }
}

impl Hook {
    fn path(&self) -> String {
        match self {
            Self::App => "/app/hook/deliveries".to_owned(),
            Self::Repository { repository, id } => format!("/repos/{repository}/hooks/{id}/deliveries"),
            Self::Organisation { organisation, id } => format!("/orgs/{organisation}/hooks/{id}/deliveries"),
        }
    }

    fn page_path(&self, cursor: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("per_page", &PER_PAGE.to_string());
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        format!("{}?{}", self.path(), query.finish())
    }

    /// A page of its deliveries.
    pub(crate) async fn page(&self, asking: &Asking<'_>, cursor: Option<&str>) -> Result<Page, Outcome> {
        let answer = self.ask(asking, &self.page_path(cursor)).await?;
        let deliveries = read(&answer)?;
        let next = next_cursor(answer.headers());
        Ok(Page { deliveries, next })
    }

    /// One delivery, whole; nothing if GitHub does not have it any more.
    pub(crate) async fn delivery(&self, asking: &Asking<'_>, id: u64) -> Result<Option<Sent>, Outcome> {
        #[derive(Deserialize)]
        struct Whole {
            request: Request,
        }
        #[derive(Deserialize)]
        struct Request {
            #[serde(default)]
            headers: Option<BTreeMap<String, String>>,
            #[serde(default)]
            payload: Option<Value>,
        }
        let answer = match self.ask(asking, &format!("{}/{id}", self.path())).await {
            Err(Outcome::Failed {
                code: "channel_target_gone",
                ..
            }) => return Ok(None),
            answer => answer?,
        };
        let whole: Whole = read(&answer)?;
        let sent = whole.request.headers.zip(whole.request.payload);
        Ok(sent.map(|(headers, payload)| Sent { headers, payload }))
    }

    async fn ask(&self, asking: &Asking<'_>, path: &str) -> Result<Response<Bytes>, Outcome> {
        match self {
            Self::App => {
                let jwt = token::jwt(asking)?;
                ask(asking, path, &jwt).await
            }
            Self::Repository { .. } | Self::Organisation { .. } => {
                ask(asking, path, own_token(asking)?).await
            }
        }
    }
}

/// The webhook of a repository, or of an organisation, that sends to `url`.
pub(crate) async fn find(asking: &Asking<'_>, owner: &str, url: &str) -> Result<Option<Hook>, Outcome> {
    #[derive(Deserialize)]
    struct Found {
        id: u64,
        #[serde(default)]
        config: Config,
    }
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default)]
        url: Option<String>,
    }
    let is_repository = owner.contains('/');
    let kind = if is_repository { "repos" } else { "orgs" };
    let path = format!("/{kind}/{owner}/hooks?per_page={PER_PAGE}");
    let hooks: Vec<Found> = read(&ask(asking, &path, own_token(asking)?).await?)?;
    let ours = hooks
        .into_iter()
        .find(|hook| hook.config.url.as_deref() == Some(url));
    Ok(ours.map(|Found { id, .. }| {
        if is_repository {
            let repository = owner.to_owned();
            Hook::Repository { repository, id }
        } else {
            let organisation = owner.to_owned();
            Hook::Organisation { organisation, id }
        }
    }))
}

fn own_token<'a>(asking: &Asking<'a>) -> Result<&'a str, Outcome> {
    asking.token.ok_or_else(|| Outcome::Failed {
        code: "credential_missing",
        reason: "the integration has no token to ask with: enter one that may read the webhooks of the repository or organisation"
            .to_owned(),
    })
}

async fn ask(asking: &Asking<'_>, path: &str, bearer: &str) -> Result<Response<Bytes>, Outcome> {
    let api = asking.settings.api_url.trim_end_matches('/');
    let mut request: Request<Bytes> = call::get(&format!("{api}{path}"))?;
    set_headers(&mut request);
    if let Some(value) = secret_value(&format!("Bearer {bearer}")) {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let answer = call::call(asking.ports, request, "")
        .await
        .map_err(|error| Twice::IsOnce.unanswered(error))?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer);
    }
    if let Some(after) = rate_limit(&answer, asking.ports.clock.now()) {
        return Err(Outcome::Retry {
            after: Some(after),
            reason: format!("GitHub asks to wait {} s: too many requests", after.as_secs()),
        });
    }
    if status.is_server_error() {
        return Err(Outcome::Retry {
            after: None,
            reason: format!("GitHub is in trouble ({status})"),
        });
    }
    Err(explain(status, &call::words(answer.body())))
}

fn read<T: serde::de::DeserializeOwned>(answer: &Response<Bytes>) -> Result<T, Outcome> {
    serde_json::from_slice(answer.body()).map_err(|_| Outcome::Retry {
        after: None,
        reason: "GitHub's answer about its webhooks makes no sense".to_owned(),
    })
}

fn next_cursor(headers: &HeaderMap) -> Option<String> {
    call::link(headers, "next", "cursor")
}
