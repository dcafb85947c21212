//! The doorbell: after a commit, tell a runner with room that a run waits. A hint; the lease is the truth.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
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
/// A runner that has not polled for this long is not rung.
const RUNNER_FRESH: Duration = Duration::from_secs(60);

/// Tells those who wait that `runs` may be leased: waiters in this process at once, others by their doorbell.
pub(crate) fn announce(edge: &Arc<Edge>, scope: &Scope, runs: &[RunId]) {
    edge.bells
        .ring(&Topic::Work(scope.workspace().into()), runs.len());
    let Some(run) = runs.first().copied() else { return };
    once::soon(edge, scope, &edge.ringing, move |edge, scope| async move {
        if let Err(error) = ring_one(&edge, &scope, run).await {
            tracing::debug!("no doorbell rung: {error}");
        }
    });
}

/// Rings the runner that has the most room, if any can be rung.
async fn ring_one(edge: &Edge, scope: &Scope, run: RunId) -> Result<(), DbError> {
    let rows = scope
        .query(
            "SELECT name, doorbell, token_id FROM runners WHERE workspace_id = ?1 AND doorbell IS NOT NULL \
             AND room > 0 AND seen_at > ?2 ORDER BY room DESC LIMIT 1",
            [(edge.now() - RUNNER_FRESH).into()],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (name, doorbell, token) = (row.text(0)?, row.text(1)?, row.parse::<TokenId>(2)?);
    let Some(request) = ring_request(edge, name, doorbell, token, run) else {
        return Ok(());
    };
    if let Err(error) = edge.ports.http.send(request).await {
        tracing::debug!(runner = name, "the doorbell was not heard: {error}");
    }
    Ok(())
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
