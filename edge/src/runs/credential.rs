//! Credentials for git: what lets a run's sprite reach the repository its conversation is about, and nothing else.
//!
//! Invariant: a credential is given only under the run's lease, only for the repository of its own work item, on the host
//! of the integration it came in by. What somebody from outside has said never gets the right to write.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use roost_shared::{
    RunId,
    wire::{CredentialRequest, CredentialResponse},
    work::{ReplyTo, Trust, WorkItem},
};
use serde::Deserialize;

use super::runner::Runner;
use crate::{
    db::DbError,
    edge::Edge,
    error::ApiError,
    integration::{GithubSettings, Secrets, Settings},
    outbox::{
        address::callable,
        channel::Outcome,
        github::{Asking, Purpose, credential},
    },
};

/// The user that GitHub takes a token from, whichever kind it is.
const USERNAME: &str = "x-access-token";

/// `POST /runner/v1/runs/{run}/credentials`.
pub(super) async fn give(
    State(edge): State<Arc<Edge>>,
    runner: Runner,
    Path(run): Path<RunId>,
    Json(request): Json<CredentialRequest>,
) -> Result<Json<CredentialResponse>, ApiError> {
    let item = work_item(&runner, run, request.epoch).await?;
    let ReplyTo::Github {
        repository,
        installation,
        ..
    } = &item.reply_to
    else {
        return Err(elsewhere());
    };
    let config = edge.configs.reload(&runner.scope).await?;
    let stored = config
        .by_id(item.integration)
        .filter(|stored| stored.integration.enabled)
        .ok_or_else(disabled)?;
    let Settings::Github(settings) = &stored.integration.settings else {
        return Err(elsewhere());
    };
    if !is_its_repository(&request, settings, repository) {
        return Err(elsewhere());
    }
    let Secrets::Github {
        private_key, token, ..
    } = stored.open(&edge.sealer)?
    else {
        return Err(elsewhere());
    };
    callable(&settings.api_url, edge.settings.private_addresses).map_err(refused)?;
    let asking = Asking {
        ports: &edge.ports,
        tokens: &edge.senders.github,
        integration: stored.integration.id,
        settings,
        private_key: private_key.as_deref(),
        token: token.as_deref(),
    };
    let purpose = match item.actor.trust {
        Trust::Member => Purpose::Push,
        Trust::Outsider => Purpose::Read,
    };
    let given = credential(&asking, purpose, repository, *installation)
        .await
        .map_err(refused)?;
    if given.expires_at.is_none() && item.actor.trust == Trust::Outsider {
        // It can do whatever it can do; only an App's token can be made smaller.
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "credential_outsider",
            "the run was started by somebody from outside, and the integration's token can't be narrowed to reading; \
             connect GitHub as an App",
        ));
    }
    tracing::info!(%run, repository, purpose = purpose.as_str(), "a credential for git was given");
    Ok(Json(CredentialResponse {
        username: USERNAME.to_owned(),
        password: given.token,
        expires_at: given.expires_at,
    }))
}

/// What the run is about, if the lease is the runner's.
async fn work_item(runner: &Runner, run: RunId, epoch: u64) -> Result<WorkItem, ApiError> {
    #[derive(Deserialize)]
    struct Opened {
        work_item: WorkItem,
    }
    let scope = &runner.scope;
    let opened = scope.sql(
        "SELECT e.body FROM runs r JOIN runners n ON n.workspace_id = r.workspace_id AND n.name = r.runner \
         JOIN events e ON e.run_id = r.id AND e.seq = 0 \
         WHERE r.workspace_id = ?1 AND r.id = ?2 AND r.epoch = ?3 AND r.phase = 'running' AND n.token_id = ?4",
        [run.into(), epoch.into(), runner.claims.jti.into()],
    );
    let mut results = scope
        .read(vec![runner.guard(), opened])
        .await?
        .into_iter()
        .skip(1);
    let rows = results
        .next()
        .ok_or_else(|| DbError::Sql("the database answered with too few results".into()))?;
    let opened: Opened = rows.first().ok_or_else(ApiError::stale_lease)?.json(0)?;
    Ok(opened.work_item)
}

/// Whether git asks for the repository itself; a service of it, such as its large files, counts as well.
fn is_its_repository(request: &CredentialRequest, settings: &GithubSettings, repository: &str) -> bool {
    let origin = format!("{}://{}", request.protocol, request.host);
    let path = request.path.trim_start_matches('/').to_ascii_lowercase();
    let Some(rest) = path.strip_prefix(&repository.to_ascii_lowercase()) else {
        return false;
    };
    let rest = rest.strip_prefix(".git").unwrap_or(rest);
    settings
        .git_origin()
        .is_some_and(|own| own.eq_ignore_ascii_case(&origin))
        && (rest.is_empty() || rest.starts_with('/'))
}

fn elsewhere() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "credential_elsewhere",
        "a run gets a credential only for the repository its conversation is about; use another way for others",
    )
}

fn disabled() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "integration_disabled",
        "the integration the run came in by is disabled; enable it in the admin",
    )
}

fn refused(outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::Failed { code, reason } => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, reason),
        Outcome::Retry { after, reason } => ApiError {
            retry_after: after,
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "credential_unavailable", reason)
        },
        Outcome::Unknown { reason } => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "credential_unavailable", reason)
        }
        Outcome::Sent { .. } => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "asking for a credential sent something",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_repository_itself_is_its_repository() {
        let settings = |api_url: &str| GithubSettings {
            api_url: api_url.to_owned(),
            app_id: None,
            bot_login: "roost[bot]".to_owned(),
            repositories: Vec::new(),
        };
        let asks = |protocol: &str, host: &str, path: &str| CredentialRequest {
            epoch: 1,
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
        };
        let github = settings("https://api.github.com");
        for path in [
            "octo/repo.git",
            "octo/repo",
            "Octo/Repo.git/info/lfs",
            "/octo/repo/",
        ] {
            assert!(
                is_its_repository(&asks("https", "github.com", path), &github, "octo/Repo"),
                "{path}"
            );
        }
        for (protocol, host, path) in [
            ("http", "github.com", "octo/repo.git"),
            ("https", "github.com.evil.example", "octo/repo.git"),
            ("https", "github.com:8443", "octo/repo.git"),
            ("https", "gist.github.com", "octo/repo.git"),
            ("https", "github.com", "octo/repo2.git"),
            ("https", "github.com", "octo/repo.github"),
            ("https", "github.com", "octo"),
            ("https", "github.com", ""),
        ] {
            let asked = asks(protocol, host, path);
            assert!(!is_its_repository(&asked, &github, "octo/repo"), "{asked:?}");
        }
        for (api, host) in [
            ("https://github.example/api/v3", "github.example"),
            ("https://api.octo.ghe.com/", "octo.ghe.com"),
        ] {
            let asked = asks("https", host, "octo/repo.git");
            assert!(is_its_repository(&asked, &settings(api), "octo/repo"), "{api}");
        }
    }
}
