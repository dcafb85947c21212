//! The form's fields, and what is left to do at the channel once it is filled in.

use maud::{Markup, html};

use super::{
    super::{
        field::{self, Purpose, field, secret},
        show,
    },
    IntegrationForm,
};
use crate::integration::Settings;

impl IntegrationForm {
    /// The fields of the form.
    pub(in crate::admin) fn fields(&self, channel: &str, purpose: &Purpose<'_>) -> Markup {
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
                (field("Repositories or organisations with the webhook", "repositories", &self.repositories, "Only without an App, apart by blanks: with a token that may read their webhooks, what GitHub could not deliver is fetched.", "octo/hello"))
            }
            (field("Address of the API", "api_url", &self.api_url, "Another one for GitHub Enterprise Server.", ""))
        }
    }

    fn telegram(&self, purpose: &Purpose<'_>) -> Markup {
        html! {
            (field("User name of the bot", "bot_username", &self.bot_username, "", "roost_bot"))
            (field::hidden("Bot token", "bot_token", "@BotFather gives it.", "123456:ABC…", purpose))
            (secret("Secret token", "secret_token", "Telegram sends it with every update, once it was told so with the webhook.", purpose))
            (field("Members", "members", &self.members, "User ids of those who count as members, apart by blanks. Everybody else is an outsider.", "11223344"))
            label.check {
                input type="checkbox" name="keep_webhook" checked[self.keep_webhook.is_some()];
                span { "Tell Telegram where updates go, and again should it send them elsewhere" }
            }
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

/// What is left to do at the channel.
pub(in crate::admin) fn at_the_channel(settings: &Settings, webhook_url: &str) -> Markup {
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
            @if settings.keep_webhook {
                p { "Telegram is told where updates go within a few seconds, as long as a runner runs. By hand:" }
            } @else {
                p { "Tell Telegram once where updates go, with the bot token and the secret token in the places shown:" }
            }
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
