//! Whether a comment that may have been made is there: found by its marker among the thread's comments.
//!
//! Invariant: "not there" is said only after every comment since the first attempt was read.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use roost_shared::{UnixMillis, effect::Effect, work::ReplyTo};
use serde::Deserialize;

use super::{Asking, authorised, judge, marker};
use crate::{
    ingress::github::is_full_name,
    integration::GithubSettings,
    outbox::{
        call::{self, Twice},
        channel::{Outcome, Sending, Sight, elsewhere},
    },
};

/// Comments of a page, and pages of a look. Who writes more than 1,000 comments between an attempt and a look?
const PER_PAGE: u32 = 100;
const PAGES: u32 = 10;
/// How much the clocks of GitHub and of the edge may differ.
const SKEW: Duration = Duration::from_secs(10 * 60);

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: Option<String>,
}

/// Looks for one effect.
pub(in crate::outbox) async fn look(
    sending: &Sending<'_>,
    settings: &GithubSettings,
    secrets: (Option<&str>, Option<&str>),
    effect: &Effect,
    tried_at: UnixMillis,
) -> Sight {
    let Effect::Reply { to, .. } = effect else {
        // The second reaction is the first.
        return Sight::Harmless;
    };
    let asking = Asking::of(sending, settings, secrets);
    match search(&asking, to, &marker(sending.effect), tried_at).await {
        Ok(sight) => sight,
        Err(outcome) => outcome.into_sight(),
    }
}

async fn search(
    asking: &Asking<'_>,
    to: &ReplyTo,
    marker: &str,
    tried_at: UnixMillis,
) -> Result<Sight, Outcome> {
    let ReplyTo::Github {
        repository,
        number,
        thread,
        installation,
        ..
    } = to
    else {
        return Err(elsewhere("github"));
    };
    if !is_full_name(repository) {
        return Err(elsewhere("github"));
    }
    let api = asking.settings.api_url.trim_end_matches('/');
    let since = moment(tried_at - SKEW);
    let list = match thread {
        Some(_) => format!("{api}/repos/{repository}/pulls/{number}/comments?sort=created&direction=desc&"),
        // Oldest first, whatever is asked for: so the last page is read after the first.
        None => format!("{api}/repos/{repository}/issues/{number}/comments?"),
    };
    let read = async |page: u32| -> Result<(Option<Sight>, u32), Outcome> {
        let url = format!("{list}since={since}&per_page={PER_PAGE}&page={page}");
        let about = (repository.as_str(), *installation);
        let answer = authorised(asking, about, call::get(&url)?, Twice::IsOnce).await?;
        Ok((find(asking, &answer, marker)?, last_page(answer.headers(), page)))
    };
    let (found, last) = read(1).await?;
    if let Some(sight) = found {
        return Ok(sight);
    }
    if last > PAGES {
        return Ok(Sight::Blind {
            reason: format!(
                "there are more than {} comments since: look there yourself",
                PAGES * PER_PAGE
            ),
        });
    }
    for page in (2..=last).rev() {
        if let (Some(sight), _) = read(page).await? {
            return Ok(sight);
        }
    }
    Ok(Sight::Missing)
}

/// The comment with the marker, if it is on this page.
fn find(asking: &Asking<'_>, answer: &Response<Bytes>, marker: &str) -> Result<Option<Sight>, Outcome> {
    if !answer.status().is_success() {
        return Err(judge(answer, asking.ports.clock.now(), Twice::IsOnce));
    }
    let comments: Vec<Comment> = serde_json::from_slice(answer.body()).map_err(|_| Outcome::Retry {
        after: None,
        reason: "GitHub's list of comments makes no sense".to_owned(),
    })?;
    let is_ours = |comment: &&Comment| comment.body.as_deref().is_some_and(|body| body.contains(marker));
    // The marker is nowhere but in our comment until somebody quotes it, and then ours has the lower id.
    let ours = comments.iter().filter(is_ours).map(|comment| comment.id).min();
    Ok(ours.map(|id| Sight::Found {
        external_id: Some(id.to_string()),
    }))
}

/// The number of the last page, by the header `Link`; this one's when it is the last.
fn last_page(headers: &HeaderMap, this: u32) -> u32 {
    let last = call::link(headers, "last", "page");
    last.and_then(|last| last.parse().ok()).unwrap_or(this)
}

/// A moment as GitHub writes it: `2026-11-21T09:30:00Z`.
fn moment(at: UnixMillis) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_is_read_of_the_links() {
        let mut headers = HeaderMap::new();
        assert_eq!(last_page(&headers, 3), 3);
        let links = "<https://api.github.com/repositories/1/issues/2/comments?per_page=100&page=2>; rel=\"next\", \
                     <https://api.github.com/repositories/1/issues/2/comments?per_page=100&page=7>; rel=\"last\"";
        headers.insert(http::header::LINK, links.parse().unwrap());
        assert_eq!(last_page(&headers, 1), 7);
        assert_eq!(moment(UnixMillis(1_763_690_000_999)), "2025-11-21T01:53:20Z");
    }
}
