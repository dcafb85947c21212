//! GitHub tries to deliver once and keeps a record for three days: what failed and is not here is fetched from there. After a
//! restore so is what was answered since the backup; that is stored and shown, for it may have been done.
//!
//! Invariant: what is brought in goes the way of every webhook, but for the signature: it came over GitHub's own API. Where
//! there is more than a part of a sweep can bring in, the oldest comes first.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use super::{Part, Progress, Report, Sweeping};
use crate::{
    db::Value,
    ingress::{
        channel::Verified,
        github::is_listened_to,
        receive::{self, Fetched, Received},
    },
    integration::{GithubSettings, Secrets},
    outbox::{
        address::callable,
        channel::Outcome,
        github::{
            Asking,
            hooks::{self, Hook, Listed, Sent},
        },
    },
};

/// How long GitHub keeps deliveries.
const KEPT: Duration = Duration::from_secs(3 * 86_400);
/// How far a sweep looks back behind the one before: a delivery is recorded only once it failed, and clocks differ.
pub(super) const OVERLAP: Duration = Duration::from_secs(10 * 60);
/// Pages listed in one part of a sweep, and deliveries fetched.
const PAGES: usize = 20;
const FETCHED: usize = 200;
/// Deliveries fetched at the same time.
const PARALLEL: usize = 4;
/// The header that marks a delivery as brought in: GitHub's id of the attempt that failed.
const BROUGHT_IN: HeaderName = HeaderName::from_static("roost-brought-in");

/// Does one part of a sweep.
pub(super) async fn sweep(
    sweeping: &Sweeping<'_>,
    settings: &GithubSettings,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<Part, Outcome> {
    let edge = sweeping.edge;
    callable(&settings.api_url, edge.settings.private_addresses)?;
    let Secrets::Github {
        private_key, token, ..
    } = sweeping.secrets
    else {
        return Ok(Part::Last);
    };
    let asking = Asking {
        ports: &edge.ports,
        tokens: &edge.senders.github,
        integration: sweeping.stored.integration.id,
        settings,
        private_key: private_key.as_deref(),
        token: token.as_deref(),
    };
    let is_app = settings.app_id.is_some() && private_key.is_some();
    if !is_app && settings.repositories.is_empty() {
        report.hint = Some(
            "to have deliveries fetched that GitHub could not make, name the repositories or organisations whose webhook this is".to_owned(),
        );
        return Ok(Part::Last);
    }
    let sources = if is_app { 1 } else { settings.repositories.len() };
    while progress.source < sources {
        let hook = match settings.repositories.get(progress.source) {
            _ if is_app => Some(Hook::App),
            Some(owner) if hooks::has_webhooks(owner) => {
                let url = sweeping.webhook_url();
                let found = hooks::find(&asking, owner, &url).await?;
                if found.is_none() {
                    report.warning = Some(format!("no webhook of {owner} goes to {url}: add it there"));
                }
                found
            }
            _ => None,
        };
        if let Some(hook) = hook
            && part(sweeping, &asking, &hook, progress).await? == Part::MoreToCome
        {
            return Ok(Part::MoreToCome);
        }
        progress.source += 1;
        progress.cursor = None;
    }
    Ok(Part::Last)
}

/// Looks through some pages of one webhook and brings in what is missing.
async fn part(
    sweeping: &Sweeping<'_>,
    asking: &Asking<'_>,
    hook: &Hook,
    progress: &mut Progress,
) -> Result<Part, Outcome> {
    let oldest = sweeping.since.max(progress.began_at - KEPT);
    let (mut cursor, mut failed, mut looked_at) = (progress.cursor.clone(), Vec::new(), 0);
    let mut end = Part::MoreToCome;
    for _ in 0..PAGES {
        let page = hook.page(asking, cursor.as_deref()).await?;
        looked_at += page.deliveries.len() as u64;
        let is_older = |one: &Listed| one.at().is_some_and(|at| at < oldest);
        let reached = page.deliveries.last().is_none_or(is_older);
        // One that was answered is here, unless that was before the database became what it is.
        let is_forgotten = |one: &Listed| {
            let restored = progress.restored_at.zip(one.at());
            restored.is_some_and(|(restored, at)| at < restored)
        };
        let wanted = |one: &Listed| {
            (one.failed() || is_forgotten(one)) && is_listened_to(&one.event) && !is_older(one)
        };
        failed.extend(page.deliveries.into_iter().filter(wanted));
        cursor = page.next;
        if reached || cursor.is_none() {
            end = Part::Last;
            break;
        }
    }
    let mut missing = missing(sweeping, failed).await?;
    missing.reverse();
    let all = missing.len() <= FETCHED;
    missing.truncate(FETCHED);
    bring_in(sweeping, asking, hook, missing, progress).await?;
    if !all {
        // The same pages again: what was brought in is found to be here.
        return Ok(Part::MoreToCome);
    }
    progress.looked_at += looked_at;
    progress.cursor = cursor;
    Ok(end)
}

/// Those that are not here, each event once.
async fn missing(sweeping: &Sweeping<'_>, failed: Vec<Listed>) -> Result<Vec<Listed>, Outcome> {
    let guids: Vec<&str> = failed.iter().map(|one| one.guid.as_str()).collect();
    let guids = serde_json::to_string(&guids).unwrap_or_default();
    let rows = sweeping
        .scope
        .query(
            "SELECT dedupe_key FROM deliveries WHERE workspace_id = ?1 AND integration_id = ?2 \
             AND dedupe_key IN (SELECT value FROM json_each(?3))",
            [sweeping.stored.integration.id.into(), Value::Text(guids)],
        )
        .await
        .map_err(|error| passing(error.to_string()))?;
    let here = rows.iter().filter_map(|row| row.text(0).ok().map(str::to_owned));
    let mut seen: HashSet<String> = here.collect();
    let is_new = |one: &Listed| seen.insert(one.guid.clone());
    let mut failed = failed;
    failed.retain(is_new);
    Ok(failed)
}

async fn bring_in(
    sweeping: &Sweeping<'_>,
    asking: &Asking<'_>,
    hook: &Hook,
    missing: Vec<Listed>,
    progress: &mut Progress,
) -> Result<(), Outcome> {
    let fetching = stream::iter(missing).map(|listed| async move {
        let sent = hook.delivery(asking, listed.id).await;
        (listed, sent)
    });
    let mut fetched = std::pin::pin!(fetching.buffered(PARALLEL));
    while let Some((listed, sent)) = fetched.next().await {
        let Some(sent) = sent? else {
            progress.lost += 1;
            continue;
        };
        match take_in(sweeping, &listed, sent).await? {
            Received::Duplicate => {}
            _ => progress.brought_in += 1,
        }
    }
    Ok(())
}

async fn take_in(sweeping: &Sweeping<'_>, listed: &Listed, sent: Sent) -> Result<Received, Outcome> {
    let mut headers: HeaderMap = sent
        .headers
        .into_iter()
        .filter_map(|(name, value)| {
            Some((
                HeaderName::try_from(name).ok()?,
                HeaderValue::try_from(value).ok()?,
            ))
        })
        .collect();
    // The payload comes as JSON, also where the webhook sends a form.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(BROUGHT_IN, HeaderValue::from(listed.id));
    let verified = Verified {
        dedupe_key: listed.guid.clone(),
    };
    let body = Bytes::from(sent.payload.to_string());
    let edge: &Arc<_> = sweeping.edge;
    let fetched = if listed.failed() {
        Fetched::Missed(verified)
    } else {
        Fetched::Answered(verified)
    };
    receive::take_in(
        edge,
        sweeping.scope,
        &sweeping.stored.integration.name,
        (&fetched, &headers, &body),
    )
    .await
    .map_err(|error| passing(error.problem.message))
}

fn passing(reason: String) -> Outcome {
    Outcome::Retry { after: None, reason }
}

impl Sweeping<'_> {
    /// Where the integration's webhook is to go.
    pub(super) fn webhook_url(&self) -> String {
        let integration = &self.stored.integration;
        integration.webhook_url(&self.edge.settings.public_url, self.scope.workspace())
    }
}
