//! The endpoints of policies: show, set, take back.
//!
//! Invariant: a policy is on the disk before it is answered, and holds for everything its sprite starts or connects to
//! after that.

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{NetworkPolicy, Policies, PrivilegesPolicy, ResourcesPolicy};
use crate::sprite::host::{Host, error::ApiError};

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer = Result<StatusCode, ApiError>;

/// `GET /policy/network`.
pub(in crate::sprite::host) async fn network(
    host: State<Host>,
    name: Path<String>,
) -> Result<Response, ApiError> {
    show(&host, &name, Policies::network)
}

/// `POST /policy/network`.
pub(in crate::sprite::host) async fn set_network(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Body<NetworkPolicy>,
) -> Answer {
    let policy = read(body)?;
    if let Some(refusal) = policy.refusal() {
        return Err(invalid(refusal));
    }
    change(host, name, |policies| policies.network = Some(policy)).await
}

/// `GET /policy/privileges`.
pub(in crate::sprite::host) async fn privileges(
    host: State<Host>,
    name: Path<String>,
) -> Result<Response, ApiError> {
    show(&host, &name, |policies| {
        policies.privileges.clone().unwrap_or_default()
    })
}

/// `POST /policy/privileges`: holds from the sprite's next waking on.
pub(in crate::sprite::host) async fn set_privileges(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Body<PrivilegesPolicy>,
) -> Answer {
    let policy = read(body)?;
    if let Some(refusal) = policy.refusal() {
        return Err(invalid(refusal));
    }
    change(host, name, |policies| policies.privileges = Some(policy)).await
}

/// `DELETE /policy/privileges`.
pub(in crate::sprite::host) async fn drop_privileges(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Answer {
    change(host, name, |policies| policies.privileges = None).await
}

/// `GET /policy/resources`.
pub(in crate::sprite::host) async fn resources(
    host: State<Host>,
    name: Path<String>,
) -> Result<Response, ApiError> {
    show(&host, &name, |policies| {
        policies.resources.clone().unwrap_or_default()
    })
}

/// `POST /policy/resources`.
pub(in crate::sprite::host) async fn set_resources(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Body<ResourcesPolicy>,
) -> Answer {
    let policy = read(body)?;
    if let Some(refusal) = policy.refusal() {
        return Err(invalid(refusal));
    }
    change(host, name, |policies| policies.resources = Some(policy)).await
}

/// `DELETE /policy/resources`.
pub(in crate::sprite::host) async fn drop_resources(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Answer {
    change(host, name, |policies| policies.resources = None).await
}

fn show<T: Serialize>(host: &Host, name: &str, part: impl Fn(&Policies) -> T) -> Result<Response, ApiError> {
    let sprite = host.store.get(name)?;
    Ok(Json(part(&sprite.settings().policies)).into_response())
}

fn read<T: DeserializeOwned>(body: Body<T>) -> Result<T, ApiError> {
    let Json(policy) = body.map_err(|error| invalid(error.body_text()))?;
    Ok(policy)
}

fn invalid(why: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_policy", why)
}

async fn change(host: Host, name: String, change: impl FnOnce(&mut Policies) + Send + 'static) -> Answer {
    let changed = tokio::task::spawn_blocking(move || host.store.set_policies(&name, change)).await;
    changed
        .map_err(|error| ApiError::internal("the policy was not written", &std::io::Error::other(error)))??;
    Ok(StatusCode::NO_CONTENT)
}
