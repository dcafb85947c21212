//! A stand-in for GitHub: the parts of its [REST API](https://docs.github.com/en/rest) that Roost calls, and git
//! repositories to clone, read-only, by git's "dumb" HTTP protocol. Everything it is asked is recorded.
//!
//! Invariant: it refuses what GitHub refuses (no or a wrong credential, a bad JWT, an unknown reaction), with GitHub's
//! statuses and error bodies, so that what passes here passes there.

mod git;
mod routes;
mod token;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Requests kept; older ones are forgotten.
const KEPT: usize = 100_000;

/// How a stand-in is set up.
#[derive(Debug, Clone, Default)]
pub struct GithubConfig {
    /// The App's public key (PEM), to check its JWTs with; without it there is no App.
    pub app_public_key: Option<String>,
    /// A token that is good for everything, beside those the App is given.
    pub token: Option<String>,
    /// A directory of bare repositories, `OWNER/NAME.git`, that can be cloned.
    pub repositories: Option<PathBuf>,
}

/// How the next call that writes fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GithubFault {
    /// 403 with GitHub's words for a secondary rate limit.
    SecondaryLimit {
        /// What `retry-after` says.
        retry_after: Duration,
    },
    /// 500, and nothing was made.
    ErrorBefore,
    /// 500, although it was made.
    ErrorAfter,
    /// The call takes this long.
    Slow(Duration),
}

/// Something that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub id: u64,
    /// What it is.
    pub kind: MadeKind,
    /// `owner/name`.
    pub repository: String,
    /// The or pull request's number, or the comment's id for a reaction to one.
    pub target: u64,
    /// The comment's Markdown, or the reaction's name.
    pub content: String,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeKind {
    /// A comment on an issue or pull request.
    Comment,
    /// A reply in a thread of review comments.
    ReviewReply,
    /// A reaction.
    Reaction,
}

/// A running stand-in; ends when dropped.
#[derive(Debug)]
pub struct GithubServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    config: GithubConfig,
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    made: Vec<Made>,
    requests: VecDeque<(String, Value)>,
    faults: VecDeque<GithubFault>,
    issued: Vec<token::Issued>,
}

impl GithubServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(config: GithubConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            config,
            state: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let router = routes::router(shared.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the GitHub stand-in stopped");
            }
        });
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// `http://127.0.0.1:PORT`: the API's address, and the address repositories are cloned from.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was made, oldest first.
    pub fn made(&self) -> Vec<Made> {
        self.shared.state().made.clone()
    }

    /// The comments that were made, oldest first.
    pub fn comments(&self) -> Vec<Made> {
        self.made()
            .into_iter()
            .filter(|made| made.kind != MadeKind::Reaction)
            .collect()
    }

    /// The paths and bodies of the requests so far, refused ones included, oldest first.
    pub fn requests(&self) -> Vec<(String, Value)> {
        self.shared.state().requests.iter().cloned().collect()
    }

    /// The next call that writes fails like this.
    pub fn fail_next(&self, fault: GithubFault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Waits until `found` finds what it looks for in what was made.
    pub async fn until<T>(&self, mut found: impl FnMut(&[Made]) -> Option<T>) -> T {
        let mut count = self.shared.count.subscribe();
        loop {
            if let Some(found) = found(&self.shared.state().made) {
                return found;
            }
            // The sender lives as long as `self`, so this can't fail.
            let _ = count.changed().await;
        }
    }
}

impl Drop for GithubServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, path: &str, body: Value) {
        let mut state = self.state();
        if state.requests.len() == KEPT {
            state.requests.pop_front();
        }
        state.requests.push_back((path.to_owned(), body));
    }

    /// Makes something, unless the very same reaction is there already; gives it, and whether it is new.
    fn make(&self, kind: MadeKind, repository: &str, target: u64, content: &str) -> (Made, Novelty) {
        let mut state = self.state();
        let same = |made: &&Made| {
            kind == MadeKind::Reaction
                && (
                    made.kind,
                    made.repository.as_str(),
                    made.target,
                    made.content.as_str(),
                ) == (kind, repository, target, content)
        };
        if let Some(made) = state.made.iter().find(same) {
            return (made.clone(), Novelty::Known);
        }
        let id = 1_000_001 + u64::try_from(state.made.len()).unwrap_or(u64::MAX);
        let made = Made {
            id,
            kind,
            repository: repository.to_owned(),
            target,
            content: content.to_owned(),
        };
        state.made.push(made.clone());
        drop(state);
        self.count.send_modify(|count| *count += 1);
        (made, Novelty::New)
    }
}

/// Whether something was made just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Novelty {
    New,
    Known,
}
