//! The doorbell: after a commit, tell a runner with room that a run waits. A hint; the lease is the truth.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{Either, select};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roost_shared::{
    RunId, TokenId,
    wire::{Ring, RingClaims},
};

use crate::{
    bells::Topic,
    db::{DbError, Scope},
    edge::Edge,
    once,
};

/// How long a ring's token is good.
const RING_GOOD_FOR: Duration = Duration::from_secs(30);
/// How long a runner may take to hear a ring, before the next one is rung.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// Runners rung for the same runs at most.
const MOST_RUNG: u32 = 8;

/// Tells those who wait that `runs` may be leased: waiters in this process at once, others by their doorbell.
pub(crate) fn announce(edge: &Arc<Edge>, scope: &Scope, runs: &[RunId]) {
    edge.bells
        .ring(&Topic::Work(scope.workspace().into()), runs.len());
    let Some(run) = runs.first().copied() else { return };
    let waiting = u64::try_from(runs.len()).unwrap_or(u64::MAX);
    once::soon(edge, scope, &edge.ringing, move |edge, scope| async move {
        if let Err(error) = ring(&edge, &scope, run, waiting).await {
            tracing::debug!("no doorbell rung: {error}");
        }
    });
}

/// Rings runners, the one with the most room first, until those that heard it have room for `waiting` runs. One that has died
/// or stands still is still known for a while: it hears nothing, and the next one is rung.
async fn ring(edge: &Edge, scope: &Scope, run: RunId, waiting: u64) -> Result<(), DbError> {
    // A runner that has not polled for as long as a lease lasts has none left, and looks by itself when it comes back.
    let rows = scope
        .query(
            "SELECT name, doorbell, token_id, room FROM runners WHERE workspace_id = ?1 AND doorbell IS NOT NULL \
             AND room > 0 AND seen_at > ?2 ORDER BY room DESC, seen_at DESC LIMIT ?3 + 0",
            [(edge.now() - edge.settings.lease).into(), MOST_RUNG.into()],
        )
        .await?;
    let mut waiting = waiting;
    for row in &rows {
        let (name, doorbell, token) = (row.text(0)?, row.text(1)?, row.parse::<TokenId>(2)?);
        let Some(request) = ring_request(edge, name, doorbell, token, run) else {
            continue;
        };
        if !is_heard(edge, name, request).await {
            continue;
        }
        waiting = waiting.saturating_sub(row.unsigned(3)?);
        if waiting == 0 {
            break;
        }
    }
    Ok(())
}

async fn is_heard(edge: &Edge, name: &str, request: http::Request<Bytes>) -> bool {
    let answer = edge.ports.http.send(request);
    match select(answer, edge.ports.clock.sleep(HEARD_WITHIN)).await {
        Either::Left((Ok(answer), _)) if answer.status().is_success() => return true,
        Either::Left((Ok(answer), _)) => {
            tracing::debug!(runner = name, "the doorbell was refused: {}", answer.status());
        }
        Either::Left((Err(error), _)) => {
            tracing::debug!(runner = name, "the doorbell was not heard: {error}");
        }
        Either::Right(_) => tracing::debug!(runner = name, "the doorbell was not heard in time"),
    }
    false
}

fn ring_request(
    edge: &Edge,
    name: &str,
    doorbell: &str,
    token: TokenId,
    run: RunId,
) -> Option<http::Request<Bytes>> {
    let claims = RingClaims {
        aud: name.to_owned(),
        exp: (edge.now() + RING_GOOD_FOR).as_secs(),
    };
    let key = EncodingKey::from_secret(edge.tokens.doorbell_key(token).as_bytes());
    let jwt = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).ok()?;
    http::Request::post(doorbell)
        .header(http::header::AUTHORIZATION, format!("Bearer {jwt}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(serde_json::to_vec(&Ring { run }).ok()?))
        .ok()
}
