//! What every channel's sender gives: one effect, sent with one call, and an honest word on how it went; and, where nobody
//! knows how it went, a look whether it is there.

use std::time::Duration;

use roost_shared::{EffectId, UnixMillis, effect::Effect};

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
    if let Err(refusal) = may_call(sending) {
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
        _ => mismatched(),
    }
}

/// Looks whether an effect that was first tried at `tried_at` is in its channel.
pub async fn look(sending: &Sending<'_>, effect: &Effect, tried_at: UnixMillis) -> Sight {
    if let Err(refusal) = may_call(sending) {
        return refusal.into_sight();
    }
    match (&sending.integration.settings, sending.secrets) {
        (
            Settings::Github(settings),
            Secrets::Github {
                private_key, token, ..
            },
        ) => {
            let secrets = (private_key.as_deref(), token.as_deref());
            github::look(sending, settings, secrets, effect, tried_at).await
        }
        (Settings::Telegram(_), Secrets::Telegram { .. }) => telegram::look(effect),
        // The receiver tells repetitions by their id.
        (Settings::Generic(_), Secrets::Generic { .. }) => Sight::Harmless,
        _ => mismatched().into_sight(),
    }
}

fn may_call(sending: &Sending<'_>) -> Result<(), Outcome> {
    let address = match &sending.integration.settings {
        Settings::Github(settings) => Some(&settings.api_url),
        Settings::Telegram(settings) => Some(&settings.api_url),
        Settings::Generic(settings) => settings.reply_url.as_ref(),
    };
    address.map_or(Ok(()), |address| {
        callable(address, sending.private_addresses).map(drop)
    })
}

fn mismatched() -> Outcome {
    Outcome::Failed {
        code: "integration_secret_unusable",
        reason: "the integration's secret belongs to another channel; enter it again".to_owned(),
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

/// What was seen of an effect that may have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It is there.
    Found {
        /// The channel's own id of it.
        external_id: Option<String>,
    },
    /// It is not there, or not shown yet.
    Missing,
    /// There is nothing to see, and sending it again does no harm.
    Harmless,
    /// The channel can't say just now.
    Later {
        /// Not before this, if the channel said so.
        after: Option<Duration>,
        /// One sentence.
        reason: String,
    },
    /// Only a person can tell.
    Blind {
        /// One sentence: why, and what to do.
        reason: String,
    },
}

impl Outcome {
    /// What a look came to that did not get its answer.
    pub(super) fn into_sight(self) -> Sight {
        match self {
            Self::Retry { after, reason } => Sight::Later { after, reason },
            Self::Unknown { reason } => Sight::Later { after: None, reason },
            Self::Failed { reason, .. } => Sight::Blind {
                reason: format!("it can't be looked for ({reason}): look yourself"),
            },
            Self::Sent { external_id } => Sight::Found { external_id },
        }
    }
}
