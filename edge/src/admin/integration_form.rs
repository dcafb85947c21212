//! The form of an integration, one per channel: what was typed, as fields and as a draft.
//!
//! Invariant: a secret is never put into a page again, not even one that was just typed.

use maud::{Markup, html};

use serde::Deserialize;

use super::{
    field::{self, Purpose, field, secret},
    show,
};
use crate::{
    error::ApiError,
    integration::{
        DigestEncoding, GenericSettings, GithubSettings, Secrets, Settings, SignatureScheme, TelegramSettings,
    },
    ports::Random,
    setup::IntegrationDraft,
};

/// What the form holds, of whichever channel.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IntegrationForm {
    name: String,
    enabled: Option<String>,
    api_url: String,
    // GitHub.
    bot_login: String,
    app_id: String,
    webhook_secret: String,
    private_key: String,
    token: String,
    // Telegram.
    bot_username: String,
    members: String,
    secret_token: String,
    bot_token: String,
    // Generic.
    scheme: String,
    header: String,
    prefix: String,
    encoding: String,
    id_header: String,
    reply_url: String,
    signing: String,
    forget: Option<String>,
}

impl IntegrationForm {
    /// The form of a new one.
    pub(super) fn blank(channel: &str) -> Self {
        let api_url = match channel {
            "github" => "https://api.github.com",
            "telegram" => "https://api.telegram.org",
            _ => "",
        };
        Self {
            api_url: api_url.to_owned(),
            enabled: Some("on".to_owned()),
            ..Self::default()
        }
    }

    /// The form of one there is.
    pub(super) fn of(name: &str, enabled: bool, settings: &Settings) -> Self {
        let form = Self {
            name: name.to_owned(),
            enabled: enabled.then(|| "on".to_owned()),
            ..Self::default()
        };
        match settings.clone() {
            Settings::Github(settings) => Self {
                api_url: settings.api_url,
                bot_login: settings.bot_login,
                app_id: settings.app_id.unwrap_or_default(),
                ..form
            },
            Settings::Telegram(settings) => {
                let members: Vec<String> = settings.members.iter().map(i64::to_string).collect();
                Self {
                    api_url: settings.api_url,
                    bot_username: settings.bot_username,
                    members: members.join(" "),
                    ..form
                }
            }
            Settings::Generic(settings) => {
                let form = Self {
                    reply_url: settings.reply_url.unwrap_or_default(),
                    ..form
                };
                match settings.signature {
                    SignatureScheme::StandardWebhooks => form,
                    SignatureScheme::Hmac {
                        header,
                        prefix,
                        encoding,
                        id_header,
                    } => Self {
                        scheme: "hmac".to_owned(),
                        header,
                        prefix,
                        encoding: if encoding == DigestEncoding::Base64 {
                            "base64".to_owned()
                        } else {
                            String::new()
                        },
                        id_header: id_header.unwrap_or_default(),
                        ..form
                    },
                }
            }
        }
    }

    /// The name stays what it was.
    pub(super) fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// What was typed, as setting up takes it. Secrets that were left empty are those of `stored`.
    pub(super) fn draft(&self, channel: &str, stored: Option<Secrets>) -> Result<IntegrationDraft, ApiError> {
        let settings = self.settings(channel)?;
        let secrets = self.secrets(&settings, stored);
        Ok(IntegrationDraft {
            name: self.name.trim().to_owned(),
            settings,
            secrets,
            enabled: self.enabled.is_some(),
        })
    }

    fn settings(&self, channel: &str) -> Result<Settings, ApiError> {
        let api_url = self.api_url.trim().trim_end_matches('/').to_owned();
        match channel {
            "github" => Ok(Settings::Github(GithubSettings {
                api_url,
                app_id: filled(&self.app_id),
                bot_login: required(&self.bot_login, "enter the login the replies appear under")?,
            })),
            "telegram" => {
                let members = self.members.split([' ', ',', '\n', '\r', '\t']);
                let members = members.filter(|id| !id.is_empty()).map(|id| {
                    id.parse().map_err(|_| {
                        ApiError::invalid(format!("{id:?} is no user id; a user id is a number"))
                    })
                });
                let username = required(&self.bot_username, "enter the bot's user name")?;
                Ok(Settings::Telegram(TelegramSettings {
                    api_url,
                    bot_username: username.trim_start_matches('@').to_owned(),
                    members: members.collect::<Result<_, _>>()?,
                }))
            }
            "generic" => Ok(Settings::Generic(GenericSettings {
                signature: self.signature()?,
                reply_url: filled(&self.reply_url),
            })),
            _ => Err(ApiError::not_found("channel")),
        }
    }

    fn signature(&self) -> Result<SignatureScheme, ApiError> {
        if self.scheme != "hmac" {
            return Ok(SignatureScheme::StandardWebhooks);
        }
        Ok(SignatureScheme::Hmac {
            header: required(&self.header, "enter the header that carries the signature")?,
            prefix: self.prefix.trim().to_owned(),
            encoding: if self.encoding == "base64" {
                DigestEncoding::Base64
            } else {
                DigestEncoding::Hex
            },
            id_header: filled(&self.id_header),
        })
    }

    fn secrets(&self, settings: &Settings, stored: Option<Secrets>) -> Option<Secrets> {
        match (settings, stored) {
            (Settings::Github(_), stored) => {
                let (old_secret, old_key, old_token) = match stored {
                    Some(Secrets::Github {
                        webhook_secret,
                        private_key,
                        token,
                    }) => (webhook_secret, private_key, token),
                    _ => Default::default(),
                };
                Some(Secrets::Github {
                    webhook_secret: filled(&self.webhook_secret).unwrap_or(old_secret),
                    private_key: filled(&self.private_key).or(old_key),
                    token: filled(&self.token).or(old_token),
                })
            }
            (Settings::Telegram(_), stored) => {
                let (old_secret, old_token) = match stored {
                    Some(Secrets::Telegram {
                        secret_token,
                        bot_token,
                    }) => (secret_token, bot_token),
                    _ => Default::default(),
                };
                Some(Secrets::Telegram {
                    secret_token: filled(&self.secret_token).unwrap_or(old_secret),
                    bot_token: filled(&self.bot_token).unwrap_or(old_token),
                })
            }
            (Settings::Generic(_), stored) => {
                let mut signing: Vec<String> = filled(&self.signing).into_iter().collect();
                if let Some(Secrets::Generic { signing: old }) = stored
                    && (self.forget.is_none() || signing.is_empty())
                {
                    signing.extend(old);
                }
                Some(Secrets::Generic { signing })
            }
        }
    }

    /// The fields of the form.
    pub(super) fn fields(&self, channel: &str, purpose: &Purpose<'_>) -> Markup {
        let editing = matches!(purpose, Purpose::Edit);
        html! {
            @if !editing {
                (field("Name", "name", &self.name, "In the webhook's address: lower-case letters, digits and -. It can't be changed later.", channel))
            }
            @match channel {
                "github" => (self.github(purpose)),
                "telegram" => (self.telegram(purpose)),
                _ => (self.generic(purpose)),
            }
            label.check {
                input type="checkbox" name="enabled" checked[self.enabled.is_some()];
                span { "Enabled: it takes deliveries and sends replies" }
            }
        }
    }

    fn github(&self, purpose: &Purpose<'_>) -> Markup {
        html! {
            (field("Login of the bot", "bot_login", &self.bot_login, "The login the replies appear under. What it writes itself is ignored.", "roost[bot]"))
            (secret("Webhook secret", "webhook_secret", "Enter the same one at GitHub.", purpose))
            fieldset {
                legend { "How it answers" }
                p.muted { "As a GitHub App: its id and private key. From a repository's webhook: a token of the bot's account." }
                (field("App id or client id", "app_id", &self.app_id, "", "Iv23li…"))
                (field::hidden_text("Private key of the App", "private_key", "-----BEGIN RSA PRIVATE KEY-----", purpose))
                (field::hidden("Token", "token", "", "github_pat_…", purpose))
            }
            (field("Address of the API", "api_url", &self.api_url, "Another one for GitHub Enterprise Server.", ""))
        }
    }

    fn telegram(&self, purpose: &Purpose<'_>) -> Markup {
        html! {
            (field("User name of the bot", "bot_username", &self.bot_username, "", "roost_bot"))
            (field::hidden("Bot token", "bot_token", "@BotFather gives it.", "123456:ABC…", purpose))
            (secret("Secret token", "secret_token", "Telegram sends it with every update: see the next page.", purpose))
            (field("Members", "members", &self.members, "User ids of those who count as members, apart by blanks. Everybody else is an outsider.", "11223344"))
            (field("Address of the Bot API", "api_url", &self.api_url, "Another one for a Bot API server of your own.", ""))
        }
    }

    fn generic(&self, purpose: &Purpose<'_>) -> Markup {
        let hmac = self.scheme == "hmac";
        let base64 = self.encoding == "base64";
        html! {
            fieldset {
                legend { "How requests are signed" }
                label.check {
                    input type="radio" name="scheme" value="standard_webhooks" checked[!hmac];
                    span { "Standard Webhooks: " code { "webhook-id" } ", " code { "webhook-timestamp" } ", " code { "webhook-signature" } }
                }
                label.check {
                    input type="radio" name="scheme" value="hmac" checked[hmac];
                    span { "HMAC-SHA256 of the body in a header:" }
                }
                div.indent {
                    (field("Header", "header", &self.header, "", "x-signature"))
                    (field("Before the digest", "prefix", &self.prefix, "", "sha256="))
                    (field::choice("Digest", "encoding", &html! {
                        option value="hex" selected[!base64] { "hexadecimal" }
                        option value="base64" selected[base64] { "base 64" }
                    }))
                    (field("Header that names the event", "id_header", &self.id_header, "So that an event delivered twice counts once. Without, the body itself decides.", "x-event-id"))
                }
            }
            (secret("Signing secret", "signing", "At least 8 characters, or whsec_ and base 64.", purpose))
            @if matches!(purpose, Purpose::Edit) {
                label.check {
                    input type="checkbox" name="forget";
                    span { "With a new one, stop taking the old ones at once" }
                }
            }
            (field("Replies go to", "reply_url", &self.reply_url, "Where replies are POSTed, signed with the same secret. Empty: nowhere; they stay in the run.", "https://example.com/replies"))
        }
    }
}

/// A secret of 32 random characters.
pub(super) fn suggestion(random: &dyn Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    hex::encode(bytes)
}

fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn required(text: &str, otherwise: &str) -> Result<String, ApiError> {
    filled(text).ok_or_else(|| ApiError::invalid(otherwise))
}

/// What is left to do at the channel.
pub(super) fn at_the_channel(settings: &Settings, webhook_url: &str) -> Markup {
    let copy = show::copyable("webhook-url", webhook_url);
    match settings {
        Settings::Github(_) => html! {
            ol.how {
                li { "At GitHub, open the App's settings (or the repository's: Settings, Webhooks, Add webhook)." }
                li { "Payload or webhook URL: " (copy) }
                li { "Content type: " code { "application/json" } ". Secret: the webhook secret." }
                li {
                    "Events: Issues, Issue comments, Pull requests, Pull request reviews, Pull request review comments. "
                    "An App needs read and write access to issues and pull requests."
                }
            }
        },
        Settings::Telegram(settings) => html! {
            p { "Tell Telegram once where updates go, with the bot token and the secret token in the places shown:" }
            p { (copy) }
            pre {
                "curl " (settings.api_url) "/botBOT_TOKEN/setWebhook \\\n"
                "  -d url=" (webhook_url) " \\\n"
                "  -d secret_token=SECRET_TOKEN"
            }
            p.muted { "In groups the bot sees only what is said to it, unless its privacy mode is turned off at @BotFather." }
        },
        Settings::Generic(_) => html! {
            p { "POST JSON here, signed: " (copy) }
            pre { "{\"text\": \"please look at the build\", \"conversation\": \"build-17\", \"actor\": \"ci\"}" }
            p.muted { "What else the body may hold is in the reference, generic-webhook.md." }
        },
    }
}
