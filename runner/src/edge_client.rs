//! The runner's client of the edge API: polls, appends, ticks.
//!
//! Its presence is a request that stays open, by which the edge notices the process's death.
//!
//! An append is repeated until it is answered: the edge takes the same append twice for one. A poll that may have taken
//! leases and was not answered is withdrawn: what it took would lie idle until the lease ran out.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{RequestBuilder, StatusCode, header::RETRY_AFTER};
use roost_shared::{
    PollId, RunId,
    problem::{Problem, ProblemBody},
    wire::{
        AppendRequest, AppendResponse, CredentialRequest, CredentialResponse, EndedRequest, EndedResponse,
        PollRequest, PollResponse, PresenceRequest, PresenceResponse, TickResponse, WithdrawResponse,
    },
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::reason::reason;

/// How long a request may take beyond the time the edge may hold it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// By all that it streams the edge says every 15 s that it is still there; after this long without a word the connection is taken
/// for dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(40);
/// The helper in the sprite waits 20 s for an answer before it asks again.
const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(18);
/// Pauses between tries of an append: 50 ms, doubling, at most this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The edge did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// Somebody else drives the run now, or it has ended.
    #[error("the lease is no longer ours")]
    StaleLease,
    /// It can't be reached or is overloaded; the same request may succeed later.
    #[error("the edge is unavailable: {reason}")]
    Unavailable {
        /// One sentence.
        reason: String,
        /// When it asked to be tried again.
        retry_after: Option<Duration>,
    },
    /// It says no.
    #[error("the edge refused ({}): {}", .0.code, .0.message)]
    Refused(Problem),
}

impl EdgeError {
    /// Stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::StaleLease => "stale_lease",
            Self::Unavailable { .. } => "edge_unavailable",
            Self::Refused(problem) => &problem.code,
        }
    }
}

/// A client of one edge with one runner token. Cheap to clone.
#[derive(Clone)]
pub struct EdgeClient {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl EdgeClient {
    /// A client of the edge at `base` (no slash at the end).
    pub fn new(http: reqwest::Client, base: &str, token: &str) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        }
    }

    /// Renews leases, takes new ones, hears signals.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn poll(&self, request: &PollRequest) -> Result<PollResponse, EdgeError> {
        let wait = Duration::from_millis(request.wait_ms);
        let sent = self.post("/runner/v1/poll").timeout(TIMEOUT + wait).json(request);
        answer(sent).await
    }

    /// Opens the connection by which the edge sees that this process lives, and reads its first line.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn presence(
        &self,
        request: &PresenceRequest,
    ) -> Result<(PresenceResponse, Presence), EdgeError> {
        let asking = self.post("/runner/v1/presence").json(request).send();
        let response = timeout(TIMEOUT, asking).await.map_err(|_| silent())?;
        let response = accepted(response.map_err(unavailable)?).await?;
        let mut presence = Presence { response };
        let line = presence.line().await?.ok_or_else(silent)?;
        Ok((understood(&line)?, presence))
    }

    /// Gives back what a poll leased whose answer never came, and keeps it from leasing anything more.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn withdraw(&self, poll: PollId) -> Result<WithdrawResponse, EdgeError> {
        let path = format!("/runner/v1/polls/{poll}/withdraw");
        answer(self.post(&path).timeout(TIMEOUT)).await
    }

    /// Asks the edge to do what is due.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn tick(&self) -> Result<TickResponse, EdgeError> {
        answer(self.post("/runner/v1/tick").timeout(2 * TIMEOUT)).await
    }

    /// Appends to a run's journal; keeps trying for as long as `patience` while the edge is away.
    ///
    /// # Errors
    /// See [`EdgeError`]; after [`EdgeError::Unavailable`] it is unknown whether the events were stored.
    pub async fn append(
        &self,
        run: RunId,
        request: &AppendRequest,
        patience: Duration,
    ) -> Result<AppendResponse, EdgeError> {
        let path = format!("/runner/v1/runs/{run}/events");
        let given_up_at = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match answer(self.post(&path).timeout(TIMEOUT).json(request)).await {
                Err(error @ EdgeError::Unavailable { .. }) => error,
                settled => return settled,
            };
            if tokio::time::Instant::now() + pause >= given_up_at {
                return Err(error);
            }
            tracing::warn!(%run, "journal not written yet, trying again: {error}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A credential for git in a run's sprite. Asking twice does no harm: git and its helper ask again.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn credential(
        &self,
        run: RunId,
        request: &CredentialRequest,
    ) -> Result<CredentialResponse, EdgeError> {
        let path = format!("/runner/v1/runs/{run}/credentials");
        answer(self.post(&path).timeout(CREDENTIAL_TIMEOUT).json(request)).await
    }

    /// Which of these runs have ended; at most 500.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn ended(&self, runs: Vec<RunId>) -> Result<Vec<RunId>, EdgeError> {
        let request = self.post("/runner/v1/runs/ended").timeout(TIMEOUT);
        let response: EndedResponse = answer(request.json(&EndedRequest { runs })).await?;
        Ok(response.ended)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }
}

/// A connection that the edge watches; it ends when this is dropped.
pub struct Presence {
    response: reqwest::Response,
}

impl Presence {
    /// Waits until the connection has ended, or nothing came by it for a while.
    pub async fn ended(mut self) {
        while let Ok(Some(_)) = self.line().await {}
    }

    async fn line(&mut self) -> Result<Option<Bytes>, EdgeError> {
        let chunk = timeout(SILENCE, self.response.chunk());
        chunk.await.map_err(|_| silent())?.map_err(unavailable)
    }
}

/// The request did not come through.
pub(crate) fn unavailable(error: reqwest::Error) -> EdgeError {
    EdgeError::Unavailable {
        reason: reason(&error),
        retry_after: None,
    }
}

/// Nothing was heard in time.
pub(crate) fn silent() -> EdgeError {
    EdgeError::Unavailable {
        reason: "nothing came by its connection".to_owned(),
        retry_after: None,
    }
}

/// What the edge answers to a request that is sent once.
pub(crate) async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, EdgeError> {
    let response = accepted(request.send().await.map_err(unavailable)?).await?;
    understood(&response.bytes().await.map_err(unavailable)?)
}

/// What an answer says.
pub(crate) fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, EdgeError> {
    serde_json::from_slice(body).map_err(|error| {
        EdgeError::Refused(Problem::new(
            "answer_malformed",
            format!("the edge's answer makes no sense: {error}"),
        ))
    })
}

/// The response, unless it says no.
pub(crate) async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, EdgeError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = response.bytes().await.map_err(unavailable)?;
    let problem = serde_json::from_slice::<ProblemBody>(&body)
        .map(|body| body.error)
        .unwrap_or_else(|_| {
            Problem::new(
                "http_error",
                format!("the edge answered {status}; is this address a Roost edge?"),
            )
        });
    Err(match status {
        StatusCode::CONFLICT if problem.code == "stale_lease" => EdgeError::StaleLease,
        StatusCode::TOO_MANY_REQUESTS => EdgeError::Unavailable {
            reason: problem.message,
            retry_after,
        },
        status if status.is_server_error() => EdgeError::Unavailable {
            reason: problem.message,
            retry_after,
        },
        _ => EdgeError::Refused(problem),
    })
}
