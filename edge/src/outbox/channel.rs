//! What every channel's sender gives: one effect, sent with one call, and an honest word on how it went.

use std::time::Duration;

use roost_shared::{EffectId, effect::Effect};

use crate::{
    edge::PrivateAddresses,
    integration::{Integration, Secrets, Settings},
    outbox::{address::callable, generic, github, telegram},
    ports::Ports,
};

/// What senders keep between calls: short-lived channel credentials. All of it can be lost.
#[derive(Default)]
pub struct Senders {
    pub(crate) github: github::Tokens,
}

/// What a sender has at hand.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    /// Outbound HTTP, clock, random bytes.
    pub ports: &'a Ports,
    /// The integration to send by.
    pub integration: &'a Integration,
    /// Its secrets, opened for this call.
    pub secrets: &'a Secrets,
    /// The effect: also the idempotency key, and the marker by which it can be found in the channel.
    pub effect: EffectId,
    /// Short-lived credentials from earlier calls.
    pub senders: &'a Senders,
    /// Whether private addresses may be called.
    pub private_addresses: PrivateAddresses,
}

/// Sends one effect by its integration's channel.
pub async fn send(sending: &Sending<'_>, effect: &Effect) -> Outcome {
    let address = match &sending.integration.settings {
        Settings::Github(settings) => Some(&settings.api_url),
        Settings::Telegram(settings) => Some(&settings.api_url),
        Settings::Generic(settings) => settings.reply_url.as_ref(),
    };
    if let Some(Err(refusal)) = address.map(|address| callable(address, sending.private_addresses)) {
        return refusal;
    }
    match (&sending.integration.settings, sending.secrets) {
        (
            Settings::Github(settings),
            Secrets::Github {
                private_key, token, ..
            },
        ) => {
            github::send(
                sending,
                settings,
                (private_key.as_deref(), token.as_deref()),
                effect,
            )
            .await
        }
        (Settings::Telegram(settings), Secrets::Telegram { bot_token, .. }) => {
            telegram::send(sending, settings, bot_token, effect).await
        }
        (Settings::Generic(settings), Secrets::Generic { signing }) => {
            generic::send(sending, settings, signing, effect).await
        }
        _ => Outcome::Failed {
            code: "integration_secret_unusable",
            reason: "the integration's secret belongs to another channel; enter it again".to_owned(),
        },
    }
}

/// The effect was made for another channel than its integration's.
pub(super) fn elsewhere(channel: &str) -> Outcome {
    Outcome::Failed {
        code: "effect_elsewhere",
        reason: format!(
            "the effect is not for {channel}: the integration's channel was changed after the event came"
        ),
    }
}

/// How sending went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The channel has it.
    Sent {
        /// The channel's own id of what was made.
        external_id: Option<String>,
    },
    /// The channel surely does not have it; try again.
    Retry {
        /// Not before this, if the channel said so.
        after: Option<Duration>,
        /// One sentence.
        reason: String,
    },
    /// The channel surely does not have it and never will.
    Failed {
        /// Stable code, e.g. `channel_forbidden`.
        code: &'static str,
        /// One sentence: what happened and what to do.
        reason: String,
    },
    /// Nobody knows: the connection was cut, the server broke.
    Unknown {
        /// One sentence.
        reason: String,
    },
}
