//! The doorbell: `POST /doorbell`, by which an edge says that a run waits. A hint: whoever forges one makes the runner
//! poll once more, and no more; it is checked all the same.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{Json, Router, extract::State, routing::post};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use roost_shared::wire::{Ring, RingClaims};

use super::Rung;

/// A runner's doorbell.
pub struct Doorbell {
    runner: String,
    key: RwLock<Option<String>>,
    rung: Rung,
}

impl Doorbell {
    pub(super) fn new(runner: String) -> Self {
        Self {
            runner,
            key: RwLock::new(None),
            rung: Rung::default(),
        }
    }

    /// From now on, rings signed with this key are heard.
    pub(super) fn trust(&self, key: String) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    pub(super) fn rung(&self) -> Rung {
        self.rung.clone()
    }

    /// The route to serve.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new().route("/doorbell", post(ring)).with_state(self)
    }

    fn is_genuine(&self, headers: &HeaderMap) -> bool {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let (Some(key), Some(token)) = (key.as_ref(), token) else {
            return false;
        };
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[&self.runner]);
        jsonwebtoken::decode::<RingClaims>(token, &DecodingKey::from_secret(key.as_bytes()), &rules).is_ok()
    }
}

async fn ring(
    State(bell): State<Arc<Doorbell>>,
    headers: HeaderMap,
    Json(Ring { run }): Json<Ring>,
) -> StatusCode {
    if !bell.is_genuine(&headers) {
        return StatusCode::UNAUTHORIZED;
    }
    tracing::debug!(%run, "the doorbell rang");
    bell.rung.notify_one();
    StatusCode::NO_CONTENT
}
