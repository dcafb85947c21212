//! Which models there are: providers by name, and what is known of single models.
//!
//! Invariant: a key is never shown; [`Secret`] has no `Display`, and its `Debug` says only that it is there.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;

use super::price::Price;

/// Providers, models and limits, as the configuration file has them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// By the name that stands before the `/` in an agent's model.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// What the built-in table doesn't know or gets wrong, by the agent's `provider/model`.
    pub models: BTreeMap<String, ModelSettings>,
    /// How long to wait and how much to take.
    pub patience: Patience,
}

/// One place that answers model calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// What it speaks.
    pub api: Api,
    /// Where it is; none for the API's own provider. For [`Api::Anthropic`] without `/v1` (`https://api.anthropic.com`),
    /// for [`Api::Openai`] with it (`http://127.0.0.1:11434/v1`), as the official clients take it.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The key, where one is asked for.
    #[serde(default)]
    pub key: Option<Secret>,
}

impl ProviderConfig {
    /// A provider that speaks `api` at its usual place, or at `base_url`.
    pub fn new(api: Api, base_url: Option<String>, key: Option<String>) -> Self {
        let key = key.map(Secret);
        Self { api, base_url, key }
    }

    /// The request with the key, as the API wants it.
    pub fn authorize(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match (&self.key, self.api) {
            (None, _) => request,
            (Some(key), Api::Anthropic) => request.header("x-api-key", key.expose()),
            (Some(key), Api::Openai) => request.bearer_auth(key.expose()),
        }
    }

    /// Where it is, without a slash at the end.
    pub fn base_url(&self) -> &str {
        let usual = match self.api {
            Api::Anthropic => "https://api.anthropic.com",
            Api::Openai => "https://api.openai.com/v1",
        };
        self.base_url.as_deref().unwrap_or(usual).trim_end_matches('/')
    }
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Anthropic Messages.
    Anthropic,
    /// Chat Completions as OpenAI, OpenRouter, vLLM and Ollama speak them.
    Openai,
}

/// What is known of one model; what is missing comes from [`super::price::lookup`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Tokens it can have before it, its answer included.
    pub window: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
}

/// How long to wait for a model, and how much to take from it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Patience {
    /// Seconds to connect.
    pub connect_s: u64,
    /// Seconds from the request to the first byte of an answer; long, because some servers load the model first and some
    /// models think before they say anything.
    pub first_byte_s: u64,
    /// Seconds without a byte after which an answer counts as cut.
    pub idle_s: u64,
    /// Bytes an answer may have on the wire.
    pub max_answer_bytes: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect_s: 10,
            first_byte_s: 600,
            idle_s: 120,
            max_answer_bytes: 32 * 1024 * 1024,
        }
    }
}

impl Patience {
    pub(super) fn connect(&self) -> Duration {
        Duration::from_secs(self.connect_s)
    }

    pub(super) fn first_byte(&self) -> Duration {
        Duration::from_secs(self.first_byte_s)
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }
}

/// A key. Never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
