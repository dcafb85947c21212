//! A client of the edge's public API (docs/reference/api.md), as any program is one: an API token, JSON both ways.
//!
//! Invariant: a request is made once, unless its maker says for how long an edge may be away.

mod follow;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use roost_shared::{RunId, event::Event};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use crate::edge_client::{EdgeError, answer};

/// The pause before an edge that is away is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Entries the edge puts on a page at most.
const PAGE: usize = 200;

/// How long to wait for an edge.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the answer to one request.
    pub answer: Duration,
    /// While it is away, asking again and again; zero asks once.
    pub away: Duration,
}

impl Patience {
    /// That of somebody who waits for the answer and can ask again themselves.
    pub const ONCE: Self = Self {
        answer: Duration::from_secs(30),
        away: Duration::ZERO,
    };
}

/// A client of one edge with one API token. Cheap to clone.
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: String,
    token: String,
    patience: Patience,
}

/// A page of a list, newest first; lists that are whole have no `next`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The following page's cursor, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Events {
    items: Vec<Event>,
    next: Option<u64>,
}

impl ApiClient {
    /// A client of the edge at `base`.
    pub fn new(http: reqwest::Client, base: &str, token: String, patience: Patience) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self {
            http,
            base,
            token,
            patience,
        }
    }

    /// Asks for what is at `path`, below `/api/v1/`.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EdgeError> {
        self.ask(|| self.request(Method::GET, path)).await
    }

    /// Posts a body to `path`, below `/api/v1/`.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, EdgeError> {
        self.ask(|| self.request(Method::POST, path).json(body)).await
    }

    /// Up to `most` entries of the list at `path` that match `filters`, from page to page; one without a value lets all through.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        filters: &[(&str, Option<String>)],
        most: usize,
    ) -> Result<Page<T>, EdgeError> {
        let mut list = Page {
            items: Vec::new(),
            next: None,
        };
        loop {
            let limit = (most - list.items.len()).min(PAGE).to_string();
            let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
            let filters = filters
                .iter()
                .filter_map(|(name, value)| Some((name, value.as_ref()?)));
            query.extend_pairs(filters).append_pair("limit", &limit);
            if let Some(next) = &list.next {
                query.append_pair("cursor", next);
            }
            let page: Page<T> = self.get(&query.finish()).await?;
            list.items.extend(page.items);
            list.next = page.next;
            if list.next.is_none() || list.items.len() >= most {
                return Ok(list);
            }
        }
    }

    /// A run's whole journal.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn journal(&self, run: RunId) -> Result<Vec<Event>, EdgeError> {
        let mut journal = Vec::new();
        let mut from = Some(0);
        while let Some(seq) = from {
            let page: Events = self.get(&format!("runs/{run}/events?from={seq}")).await?;
            journal.extend(page.items);
            from = page.next;
        }
        Ok(journal)
    }

    /// A request for what is at `path`, below `/api/v1/`, to be sent by somebody who reads the answer themselves.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/api/v1/{path}", self.base))
            .bearer_auth(&self.token)
    }

    /// Where its edge is: the URL without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    async fn ask<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Result<T, EdgeError> {
        let given_up_at = Instant::now() + self.patience.away;
        loop {
            match answer(request().timeout(self.patience.answer)).await {
                Err(EdgeError::Unavailable { .. }) if Instant::now() + PAUSE < given_up_at => {
                    sleep(PAUSE).await;
                }
                settled => return settled,
            }
        }
    }
}
