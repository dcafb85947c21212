//! The runner's calls of an edge: the real wire types over the simulated network, by the rules of the real client.
//!
//! Invariant: an append is repeated until it is answered, at whichever edge answers; a poll that may have taken leases is
//! withdrawn before the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use roost_edge::ports::HttpClient;
use roost_shared::{
    PollId, RunId,
    problem::ProblemBody,
    wire::{
        AppendRequest, AppendResponse, PollRequest, PollResponse, PresenceRequest, TickResponse,
        WithdrawResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{network::Network, sender::EDGES};

/// How long a call may take beyond the time the edge may hold it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an append is tried.
const APPEND_FOR: Duration = Duration::from_secs(40);
/// Pauses between tries of an append: this, doubling, at most the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An edge did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It can't be reached or is in trouble.
    #[error("the edge is away")]
    Away,
    /// It says no.
    #[error("{status} {code}")]
    No {
        /// The status.
        status: u16,
        /// The stable code.
        code: String,
    },
}

/// A runner's client of all edges: it keeps to one until that one is away.
#[derive(Clone)]
pub struct Client {
    network: Network,
    token: Arc<str>,
    edge: Arc<AtomicUsize>,
}

impl Client {
    /// A client that begins with the edge of this number.
    pub fn new(network: Network, token: &str, edge: usize) -> Self {
        Self {
            network,
            token: token.into(),
            edge: Arc::new(AtomicUsize::new(edge)),
        }
    }

    /// Renews leases and takes new ones.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn poll(&self, request: &PollRequest) -> Result<PollResponse, Refusal> {
        let patience = PATIENCE + Duration::from_millis(request.wait_ms);
        self.post("poll", request, patience).await
    }

    /// Gives back what a poll took whose answer never came.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn withdraw(&self, poll: PollId) -> Result<WithdrawResponse, Refusal> {
        self.post(&format!("polls/{poll}/withdraw"), &(), PATIENCE).await
    }

    /// Asks the edge to do what is due.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn tick(&self) -> Result<TickResponse, Refusal> {
        self.post("tick", &(), 4 * PATIENCE).await
    }

    /// Appends to a journal, again and again while edges are away.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn append(&self, run: RunId, request: &AppendRequest) -> Result<AppendResponse, Refusal> {
        let until = tokio::time::Instant::now() + APPEND_FOR;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.post(&format!("runs/{run}/events"), request, PATIENCE).await {
                Err(Refusal::Away) if tokio::time::Instant::now() < until => {}
                settled => return settled,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Holds a presence open until its connection ends.
    pub async fn be_present(&self, request: &PresenceRequest) {
        let Some(request) = self.request("presence", request) else {
            return;
        };
        let Ok(mut opened) = self.network.patient(PATIENCE).open(request).await else {
            return self.elsewhere();
        };
        while let Some(Ok(_)) = opened.response.body_mut().frame().await {}
    }

    fn elsewhere(&self) {
        self.edge.fetch_add(1, Ordering::SeqCst);
    }

    fn request(&self, path: &str, body: &impl Serialize) -> Option<http::Request<Bytes>> {
        let edge = EDGES[self.edge.load(Ordering::SeqCst) % EDGES.len()];
        http::Request::post(format!("http://{edge}/runner/v1/{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body).ok()?.into())
            .ok()
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<T, Refusal> {
        let request = self.request(path, body).ok_or(Refusal::Away)?;
        let answer = self.network.patient(patience).send(request).await;
        let answer = match answer {
            Ok(answer)
                if !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
            {
                answer
            }
            _ => {
                self.elsewhere();
                return Err(Refusal::Away);
            }
        };
        let status = answer.status();
        let malformed = || Refusal::No {
            status: status.as_u16(),
            code: "answer_malformed".to_owned(),
        };
        if status.is_success() {
            return serde_json::from_slice(answer.body()).map_err(|_| malformed());
        }
        let problem: ProblemBody = serde_json::from_slice(answer.body()).map_err(|_| malformed())?;
        Err(Refusal::No {
            status: status.as_u16(),
            code: problem.error.code,
        })
    }
}
