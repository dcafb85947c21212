//! A stand-in for GitHub: the parts of its [REST API](https://docs.github.com/en/rest) that Roost calls, and git
//! repositories to clone, read-only, by git's "dumb" HTTP protocol. Everything it is asked is recorded.
//!
//! Invariant: it refuses what GitHub refuses (no or a wrong credential, a bad JWT, an unknown reaction), with GitHub's
//! statuses and error bodies, so that what passes here passes there.

mod git;
mod hooks;
mod lists;
mod routes;
mod token;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::recording::{Novelty, Recording, Served};

pub use self::hooks::{DeliveryFault, HookOf};

/// Requests and things made that are kept; older ones are forgotten.
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
    /// It was made, and the connection is cut before the answer.
    CutAfter,
    /// It was made, and there is never an answer.
    SilentAfter,
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
    /// When, in milliseconds since 1970.
    pub at: i64,
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
    shared: Arc<Shared>,
    served: Served,
}

#[derive(Debug)]
struct Shared {
    config: GithubConfig,
    made: Recording<Made>,
    requests: Recording<(String, Value)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<GithubFault>,
    /// Lists yet to be answered as they were before the latest comment of the thread.
    behind: u32,
    /// Whether lists of comments are refused.
    unreadable: bool,
    /// Whether the token of [`GithubConfig`] is no longer good.
    revoked: bool,
    issued: Vec<token::Issued>,
    hooks: hooks::Hooks,
}

impl GithubServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(config: GithubConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            config,
            made: Recording::of_the_last(KEPT),
            requests: Recording::of_the_last(KEPT),
            state: Mutex::default(),
        });
        let served = Served::start("github", routes::router(shared.clone())).await?;
        Ok(Self { shared, served })
    }

    /// `http://127.0.0.1:PORT`: the API's address, and the address repositories are cloned from.
    pub fn url(&self) -> String {
        self.served.url()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// Everything that was made, oldest first.
    pub fn made(&self) -> Vec<Made> {
        self.shared.made.all()
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
        self.shared.requests.all()
    }

    /// The next call that writes fails like this.
    pub fn fail_next(&self, fault: GithubFault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Others write so many comments on an issue.
    pub fn others_say(&self, repository: &str, number: u64, comments: u32) {
        for _ in 0..comments {
            self.shared.make(MadeKind::Comment, repository, number, "Me too.");
        }
    }

    /// The next `lists` of comments do not show a thread's latest one yet.
    pub fn lag_behind(&self, lists: u32) {
        self.shared.state().behind = lists;
    }

    /// From now on comments can't be read: 403, as for an App that may only write.
    pub fn forbid_reading(&self) {
        self.shared.state().unreadable = true;
    }

    /// The token of [`GithubConfig`] is no longer good: 401.
    pub fn revoke_token(&self) {
        self.shared.state().revoked = true;
    }

    /// It is good again.
    pub fn restore_token(&self) {
        self.shared.state().revoked = false;
    }

    /// Waits until `found` finds what it looks for in what was made.
    pub async fn until<T>(&self, found: impl FnMut(&[Made]) -> Option<T>) -> T {
        self.shared.made.until(found).await
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something, unless the very same reaction is there already; gives it, and whether it is new.
    fn make(&self, kind: MadeKind, repository: &str, target: u64, content: &str) -> (Made, Novelty) {
        let same = |made: &&Made| {
            kind == MadeKind::Reaction
                && (
                    made.kind,
                    made.repository.as_str(),
                    made.target,
                    made.content.as_str(),
                ) == (kind, repository, target, content)
        };
        self.made.push_unless(
            |made| made.iter().find(same).cloned(),
            |before| Made {
                id: 1_000_001 + u64::try_from(before).unwrap_or(u64::MAX),
                kind,
                repository: repository.to_owned(),
                target,
                content: content.to_owned(),
                at: now(),
            },
        )
    }
}
