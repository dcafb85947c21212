//! The form of an integration, one per channel: what was typed, as a draft; and as [`fields`].
//!
//! Invariant: a secret is never put into a page again, not even one that was just typed.

mod fields;

use serde::Deserialize;

pub(super) use self::fields::at_the_channel;
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
    repositories: String,
    // Telegram.
    bot_username: String,
    members: String,
    keep_webhook: Option<String>,
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
            keep_webhook: Some("on".to_owned()),
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
                repositories: settings.repositories.join(" "),
                ..form
            },
            Settings::Telegram(settings) => {
                let members: Vec<String> = settings.members.iter().map(i64::to_string).collect();
                Self {
                    api_url: settings.api_url,
                    bot_username: settings.bot_username,
                    members: members.join(" "),
                    keep_webhook: settings.keep_webhook.then(|| "on".to_owned()),
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
                repositories: words(&self.repositories).map(str::to_owned).collect(),
            })),
            "telegram" => {
                let members = words(&self.members).map(|id| {
                    id.parse().map_err(|_| {
                        ApiError::invalid(format!("{id:?} is no user id; a user id is a number"))
                    })
                });
                let username = required(&self.bot_username, "enter the bot's user name")?;
                Ok(Settings::Telegram(TelegramSettings {
                    api_url,
                    bot_username: username.trim_start_matches('@').to_owned(),
                    members: members.collect::<Result<_, _>>()?,
                    keep_webhook: self.keep_webhook.is_some(),
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
}

/// A secret of 32 random characters.
pub(super) fn suggestion(random: &dyn Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    hex::encode(bytes)
}

/// The words of a list, apart by blanks, commas or ends of lines.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\n', '\r', '\t'])
        .filter(|word| !word.is_empty())
}

fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn required(text: &str, otherwise: &str) -> Result<String, ApiError> {
    filled(text).ok_or_else(|| ApiError::invalid(otherwise))
}
