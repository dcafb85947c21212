//! Telegram delivers again by itself for a day, as long as it knows where to: so it is asked where that is, and told again
//! where the set-up wants Roost to see to that.
//!
//! Invariant: a webhook that somebody else set is taken back at most once an hour; two deployments with one bot don't fight.

use std::time::Duration;

use super::{Part, Report, Sweeping};
use crate::{
    integration::{Secrets, TelegramSettings},
    outbox::{address::callable, channel::Outcome, telegram::webhook},
};

/// How long a webhook that was set has to stay before it is set again.
const STAYS: Duration = Duration::from_secs(3600);
/// A failure to deliver that is older than this is history.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// Looks where updates go, and how many wait.
pub(super) async fn sweep(
    sweeping: &Sweeping<'_>,
    settings: &TelegramSettings,
    report: &mut Report,
) -> Result<Part, Outcome> {
    let ports = &sweeping.edge.ports;
    callable(&settings.api_url, sweeping.edge.settings.private_addresses)?;
    let Secrets::Telegram {
        secret_token,
        bot_token,
    } = sweeping.secrets
    else {
        return Ok(Part::Last);
    };
    let info = webhook::info(ports, settings, bot_token).await?;
    report.pending = Some(info.pending_update_count);
    let (ours, now) = (sweeping.webhook_url(), sweeping.edge.now());
    let there = match info.url.as_str() {
        "" => "nowhere".to_owned(),
        url => format!("to {url}"),
    };
    if info.url == ours {
        let failing = info.last_error_at().is_some_and(|at| now.since(at) < RECENT);
        if failing && info.pending_update_count > 0 {
            report.warning = Some(format!(
                "Telegram has {} updates to deliver and its last try failed: {}",
                info.pending_update_count,
                info.last_error_message
                    .as_deref()
                    .unwrap_or("it does not say why")
            ));
        }
        return Ok(Part::Last);
    }
    if !settings.keep_webhook {
        report.warning = Some(format!(
            "Telegram sends the bot's updates {there}, not here: set the webhook, or let Roost see to it"
        ));
        return Ok(Part::Last);
    }
    if report.webhook_set_at.is_some_and(|at| now.since(at) < STAYS) {
        report.warning = Some(format!(
            "Telegram sends the bot's updates {there} again, although they were directed here: who else uses the bot's token?"
        ));
        return Ok(Part::Last);
    }
    webhook::set(ports, settings, bot_token, (&ours, secret_token)).await?;
    report.webhook_set_at = Some(now);
    Ok(Part::Last)
}
