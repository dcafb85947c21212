//! Receiving a webhook: find the integration, read the body within its limit, verify, normalise, write, answer.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use roost_shared::{
    DeliveryId, RunId,
    fail_point::{self, FailPoint},
};
use serde::{Deserialize, Serialize};

use super::{
    changed::Told,
    channel::{self, Request, Verdict, Verified},
    lane::LANE_OPEN,
    plan::{DUPLICATE, Lanes, Placed, Plan, Taken, Work},
    route::route,
};
use crate::{
    bells::Topic,
    config::{CONFIG_CHANGED, Config, StoredIntegration},
    db::{DbError, Rows, Scope, Statement},
    edge::Edge,
    error::ApiError,
    integration::Settings,
    outbox,
    runs::{self, control, signal},
};

/// How often a delivery is planned anew because the workspace's set-up, or a run, changed under it.
const ATTEMPTS: usize = 6;

/// Why a delivery is ignored that a replay may bring to somebody later.
pub(super) const NOBODY: &str = "no agent listens for this";
/// Why a delivery is ignored that a person may replay who knows that it was not taken up.
const ANSWERED: &str =
    "it was answered after the backup this database was restored from, and may have been taken up then";

/// How a delivery proves to be the channel's.
enum Proof<'a> {
    /// By its signature.
    Signature,
    /// It was fetched over the channel's own API.
    Fetched(&'a Fetched),
}

/// A delivery that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It never arrived.
    Missed(Verified),
    /// It was answered, but the database that knew of it is gone.
    Answered(Verified),
}

impl Fetched {
    fn verified(&self) -> &Verified {
        match self {
            Self::Missed(verified) | Self::Answered(verified) => verified,
        }
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Received {
    /// Stored, and these runs take it up.
    Accepted {
        /// The delivery.
        delivery: DeliveryId,
        /// One run per agent: one it began, or an open one it joined.
        runs: Vec<RunId>,
    },
    /// Stored; nothing follows.
    Ignored {
        /// The delivery.
        delivery: DeliveryId,
        /// Why nothing follows.
        reason: String,
    },
    /// The same event was stored before.
    Duplicate,
}

/// `POST /hooks/{workspace}/{integration}`.
pub(super) async fn receive(
    State(edge): State<Arc<Edge>>,
    Path((workspace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, ApiError> {
    let scope = edge.scope(&workspace);
    let config = find(&edge, &scope, &name).await?;
    let limit = config
        .by_name(&name)
        .map_or(0, |stored| body_limit(&stored.integration.settings));
    let body = read(body, limit).await?;
    Ok(Json(
        store(&edge, &scope, &name, config, (&headers, &body, &Proof::Signature)).await?,
    ))
}

/// Takes in what was fetched from the integration's channel.
pub(super) async fn take_in(
    edge: &Arc<Edge>,
    scope: &Scope,
    name: &str,
    (fetched, headers, body): (&Fetched, &HeaderMap, &Bytes),
) -> Result<Received, ApiError> {
    let config = find(edge, scope, name).await?;
    let proof = Proof::Fetched(fetched);
    store(edge, scope, name, config, (headers, body, &proof)).await
}

/// The set-up that has the integration, looked at again before saying no: it may be minutes old.
async fn find(edge: &Edge, scope: &Scope, name: &str) -> Result<Arc<Config>, ApiError> {
    let unknown = |error| match error {
        DbError::Refused { .. } => ApiError::not_found("integration"),
        other => other.into(),
    };
    let kept = edge.configs.get(scope).await.map_err(unknown)?;
    if usable(&kept, name).is_ok() {
        return Ok(kept);
    }
    let fresh = edge.configs.reload(scope).await.map_err(unknown)?;
    usable(&fresh, name)?;
    Ok(fresh)
}

fn usable<'a>(config: &'a Config, name: &str) -> Result<&'a StoredIntegration, ApiError> {
    let stored = config
        .by_name(name)
        .ok_or_else(|| ApiError::not_found("integration"))?;
    if stored.integration.enabled {
        return Ok(stored);
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "integration_disabled",
        format!("the integration {name} is disabled; enable it in the admin"),
    ))
}

/// GitHub sends up to 25 MB; the others have no business sending more than 1 MiB.
fn body_limit(settings: &Settings) -> usize {
    match settings {
        Settings::Github(_) => 25 << 20,
        Settings::Telegram(_) | Settings::Generic(_) => 1 << 20,
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit)),
        Err(error) => Err(ApiError::invalid(format!(
            "the body did not arrive whole: {error}; send it again"
        ))),
    }
}

async fn store(
    edge: &Arc<Edge>,
    scope: &Scope,
    name: &str,
    mut config: Arc<Config>,
    (headers, body, proof): (&HeaderMap, &Bytes, &Proof<'_>),
) -> Result<Received, ApiError> {
    let mut lanes = Lanes::Empty;
    for _ in 0..ATTEMPTS {
        let now = edge.now();
        let stored = usable(&config, name)?;
        let settings = &stored.integration.settings;
        let request = Request { headers, body, now };
        let checked = stored
            .open(&edge.sealer)
            .map_err(ApiError::from)
            .and_then(|secrets| match proof {
                Proof::Signature => Ok(channel::verify(settings, &secrets, request)?),
                Proof::Fetched(fetched) => Ok(fetched.verified().clone()),
            });
        let verified = match checked {
            Ok(verified) => verified,
            // The secret may have been changed by another edge since this one read it.
            Err(error) => match newer(edge, scope, &config).await? {
                Some(fresh) => {
                    config = fresh;
                    continue;
                }
                None => return Err(error),
            },
        };
        let delivery = DeliveryId::new(now, edge.entropy());
        let plan = Plan {
            edge,
            scope,
            config: &config,
            integration: &stored.integration,
            delivery,
            now,
        };
        let agents;
        let verdict = match (channel::normalise(settings, request), proof) {
            (Ok(Verdict::Heard(_) | Verdict::Changed(..)), Proof::Fetched(Fetched::Answered(_))) => {
                Verdict::Ignored(ANSWERED.to_owned())
            }
            (Ok(verdict), _) => verdict,
            (Err(rejection), Proof::Signature) => return Err(rejection.into()),
            // Nobody is there to be told; stored, it is not fetched again.
            (Err(rejection), Proof::Fetched(_)) => Verdict::Ignored(rejection.to_string()),
        };
        let follows = match verdict {
            Verdict::Ignored(reason) => Follows::Nothing(reason),
            Verdict::Changed(change, heard) => match plan.changed(edge, change, *heard).await? {
                Some(told) => Follows::Change(told),
                None => Follows::Nothing("no open run has this message".to_owned()),
            },
            Verdict::Heard(heard) => {
                agents = route(&config, &stored.integration, &heard);
                if agents.is_empty() {
                    Follows::Nothing(NOBODY.to_owned())
                } else {
                    Follows::Work(Box::new(plan.work(&plan.item(*heard), &agents, lanes)?))
                }
            }
        };
        let mut batch = plan.guards(&verified);
        let ignored = match &follows {
            Follows::Nothing(reason) => Some(reason.as_str()),
            Follows::Change(_) | Follows::Work(_) => None,
        };
        let stored = plan.delivery(&verified, headers, body, ignored);
        let follows = follows.planned(&mut batch, stored);
        fail_point::reach(FailPoint::IngressPlanned);
        let refused = match scope.write(batch).await {
            Ok(results) => {
                fail_point::reach(FailPoint::IngressStored);
                return follows.tell(edge, scope, delivery, &results);
            }
            Err(DbError::Refused { code }) => code,
            Err(error) => return Err(error.into()),
        };
        // A poll whose offer was in it hears that it is gone, and looks again.
        drop(follows);
        match refused {
            DUPLICATE => return Ok(Received::Duplicate),
            LANE_OPEN => lanes = Lanes::Open,
            // The runs moved on between the look and the write: look again.
            control::MOVED | signal::WITHDRAWN => {}
            CONFIG_CHANGED => config = edge.configs.reload(scope).await?,
            code => return Err(DbError::Refused { code }.into()),
        }
    }
    Err(DbError::Unavailable("the workspace or the run is being changed too often".into()).into())
}

/// What follows from a delivery once it is stored.
enum Follows<'a> {
    Nothing(String),
    Change(Told),
    Work(Box<Work<'a>>),
}

/// What follows, with its statements in their batch; those of the work stand from `from` on.
enum Planned<'a> {
    Nothing(String),
    Change(Vec<RunId>),
    Work { work: Box<Work<'a>>, from: usize },
}

impl<'a> Follows<'a> {
    /// Puts the delivery and the work into the batch: what must hold comes first.
    fn planned(self, batch: &mut Vec<Statement>, delivery: Statement) -> Planned<'a> {
        match self {
            Self::Nothing(reason) => {
                batch.push(delivery);
                Planned::Nothing(reason)
            }
            Self::Change(mut told) => {
                batch.push(delivery);
                batch.append(&mut told.batch);
                Planned::Change(told.runs)
            }
            Self::Work(mut work) => {
                batch.append(&mut work.guards);
                batch.push(delivery);
                let from = batch.len();
                batch.append(&mut work.batch);
                Planned::Work { work, from }
            }
        }
    }
}

impl Planned<'_> {
    /// Tells those who wait for it.
    fn tell(
        self,
        edge: &Arc<Edge>,
        scope: &Scope,
        delivery: DeliveryId,
        results: &[Rows],
    ) -> Result<Received, ApiError> {
        let mut offered = None;
        let (taken, results) = match self {
            Self::Nothing(reason) => return Ok(Received::Ignored { delivery, reason }),
            Self::Change(joined) => {
                let begun = Vec::new();
                (Taken { begun, joined }, results)
            }
            Self::Work { work, from } => {
                let results = results.get(from..).unwrap_or_default();
                offered = work.offered;
                (Placed::taken(&work.placed, results)?, results)
            }
        };
        if !taken.joined.is_empty() {
            edge.bells
                .ring(&Topic::Signals(scope.workspace().into()), usize::MAX);
        }
        let runs = [taken.begun, taken.joined].concat();
        let leased = match offered {
            Some((offer, newborn, at)) => {
                offer.answer(edge, scope, newborn, results.get(at..at + 3).unwrap_or_default())?
            }
            None => false,
        };
        if !leased {
            runs::bell::announce(edge, scope, &runs);
        }
        outbox::send_soon(edge, scope);
        Ok(Received::Accepted { delivery, runs })
    }
}

/// A newer snapshot than `config`, if there is one.
async fn newer(edge: &Edge, scope: &Scope, config: &Config) -> Result<Option<Arc<Config>>, DbError> {
    let fresh = edge.configs.reload(scope).await?;
    Ok((fresh.version != config.version).then_some(fresh))
}
