//! One provider: where it is, what it speaks, and how to reach it.
//!
//! Invariant: the key goes to the configured host and nowhere else; no redirect is followed.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Client, Url, redirect};

use super::{
    config::{Api, Patience, ProviderConfig, Secret},
    error::ModelError,
    failure::Asked,
    openai,
};
use crate::reason::reason;

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) api: Api,
    pub(super) url: Url,
    pub(super) own_servers: openai::OwnServers,
    pub(super) key: Option<Secret>,
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
}

impl Provider {
    pub(super) fn new(
        name: &str,
        settings: &ProviderConfig,
        patience: &Patience,
    ) -> Result<Self, ModelError> {
        let invalid = |reason: String| ModelError::ProviderInvalid {
            provider: name.to_owned(),
            reason,
        };
        let path = match settings.api {
            Api::Anthropic => "v1/messages",
            Api::Openai => "chat/completions",
        };
        let address = format!("{}/{path}", settings.base_url());
        let url: Url = address
            .parse()
            .map_err(|error| invalid(format!("{address:?} is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("{address:?} is not an http or https URL")));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if settings.api == Api::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        }
        if let Some(key) = &settings.key {
            let (header, value) = match settings.api {
                Api::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
                Api::Openai => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
            };
            let value = HeaderValue::try_from(value);
            let mut value =
                value.map_err(|_| invalid("its key has characters that a header can't have".into()))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let client = Client::builder()
            .connect_timeout(patience.connect())
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("roost/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| invalid(reason(&error)))?;
        Ok(Self {
            name: name.to_owned(),
            api: settings.api,
            own_servers: openai::OwnServers::of(url.host_str().unwrap_or_default()),
            url,
            key: settings.key.clone(),
            headers,
            client,
        })
    }

    /// A call to one of its models, for the errors it may give.
    pub(super) fn asked<'a>(&'a self, model: &'a str) -> Asked<'a> {
        Asked {
            provider: &self.name,
            model,
            key: self.key.as_ref(),
        }
    }
}
