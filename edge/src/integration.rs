//! Integrations: one configured connection to a channel, its open settings and its secrets.
//!
//! The two are kept apart so that settings can be shown and logged, and secrets can't: they are stored sealed, opened
//! at the moment of use, and have no `Debug` that prints them.

use std::fmt;

use roost_shared::IntegrationId;
use serde::{Deserialize, Serialize};

/// One configured connection to a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// Its name in URLs: `/hooks/<workspace>/<name>`.
    pub name: String,
    /// A disabled one answers 403 and sends nothing.
    pub enabled: bool,
    /// What may be shown.
    pub settings: Settings,
}

/// What may be shown of an integration, by channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum Settings {
    /// A GitHub App, or a webhook of one repository with a token to answer with.
    Github(GithubSettings),
    /// A Telegram bot.
    Telegram(TelegramSettings),
    /// Anything that can sign a webhook.
    Generic(GenericSettings),
}

/// A GitHub App, or a webhook of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GithubSettings {
    /// The API's address; another one for GitHub Enterprise Server.
    #[serde(default = "github_api")]
    pub api_url: String,
    /// The App's id or client id (the JWT's issuer); none for a repository webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The login the replies appear under, e.g. `roost[bot]`: its own messages are ignored.
    pub bot_login: String,
    /// The repositories, `owner/name`, or organisations, `owner`, whose webhook this is, where there is no App: what GitHub could
    /// not deliver is fetched from their record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

/// A Telegram bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelegramSettings {
    /// The Bot API's address; another one for a self-hosted Bot API server.
    #[serde(default = "telegram_api")]
    pub api_url: String,
    /// The bot's user name, without `@`.
    pub bot_username: String,
    /// The user ids of those who count as members; Telegram itself vouches for nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<i64>,
    /// Whether Telegram is told where to send updates, and told again when it sends them elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_webhook: bool,
}

/// Anything that can sign a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GenericSettings {
    /// How requests are signed.
    #[serde(default)]
    pub signature: SignatureScheme,
    /// Where replies are POSTed, signed by Standard Webhooks with the same secret; nowhere if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_url: Option<String>,
}

/// How a generic webhook is signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "snake_case")]
pub enum SignatureScheme {
    /// [Standard Webhooks](https://www.standardwebhooks.com) 1.0, symmetric (`v1,`).
    #[default]
    StandardWebhooks,
    /// HMAC-SHA256 of the raw body in a header.
    Hmac {
        /// The header's name, e.g. `x-signature`.
        header: String,
        /// What stands before the digest, e.g. `sha256=`.
        #[serde(default)]
        prefix: String,
        /// How the digest is written.
        #[serde(default)]
        encoding: DigestEncoding,
        /// The header that names the event, for deduplication; else the body's hash does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id_header: Option<String>,
    },
}

/// How a digest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestEncoding {
    /// Lower- or upper-case hexadecimal.
    #[default]
    Hex,
    /// Standard base 64 with padding.
    Base64,
}

/// The secrets of an integration, by channel. Stored sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum Secrets {
    /// Of a GitHub App or repository webhook.
    Github {
        /// Signs the webhooks.
        webhook_secret: String,
        /// The App's private key, PEM (PKCS#1 or PKCS#8); with it replies are sent as the App.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        private_key: Option<String>,
        /// A token to answer with, where there is no App.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// Of a Telegram bot.
    Telegram {
        /// `secret_token` of `setWebhook`: 1–256 characters of `A-Z a-z 0-9 _ -`.
        secret_token: String,
        /// The bot's token.
        bot_token: String,
    },
    /// Of a generic webhook: newest first, so that a secret can be rotated without losing a request.
    Generic {
        /// Raw secrets, or Standard Webhooks' `whsec_…`.
        signing: Vec<String>,
    },
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Integration {
    /// Where its channel sends webhooks, at an edge that is reached at `public_url`.
    pub fn webhook_url(&self, public_url: &str, workspace: &str) -> String {
        format!("{public_url}/hooks/{workspace}/{}", self.name)
    }
}

impl Settings {
    /// The channel's name: `github`, `telegram`, `generic`.
    pub fn channel(&self) -> &'static str {
        match self {
            Self::Github(_) => "github",
            Self::Telegram(_) => "telegram",
            Self::Generic(_) => "generic",
        }
    }

    /// Where the repositories are that the channel tells of, if it tells of any.
    pub fn git_origin(&self) -> Option<String> {
        match self {
            Self::Github(github) => github.git_origin(),
            Self::Telegram(_) | Self::Generic(_) => None,
        }
    }
}

impl GithubSettings {
    /// Where the repositories are that this API tells of: `https://github.com`, or the server of GitHub Enterprise.
    pub fn git_origin(&self) -> Option<String> {
        let uri: http::Uri = self.api_url.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
        let web = match authority.strip_prefix("api.") {
            Some(web) if web == "github.com" || web.ends_with(".ghe.com") => web,
            _ => authority,
        };
        Some(format!("{scheme}://{web}"))
    }
}

fn github_api() -> String {
    "https://api.github.com".to_owned()
}

fn telegram_api() -> String {
    "https://api.telegram.org".to_owned()
}
