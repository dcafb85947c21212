//! Credentials for git in a run's sprite: asked of the runner at the moment of use, and kept nowhere in the sprite.
//!
//! Invariant: a credential is in this process's memory and, for one answer, in a pipe; never in a file, an argument or an
//! environment of the sprite. What tools say is cleaned of every credential given before anybody reads it.

mod reach;
mod script;
mod scrub;
mod serve;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use roost_shared::{UnixMillis, wire::CredentialResponse};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use scrub::Given;

use super::ToolContext;
use crate::{clock, sprite::Sprite};

/// A credential is not used in its last minute, so that it does not end on its way.
const SPARE: Duration = Duration::from_secs(60);
/// How long one that says nothing of its end is used.
const STATIC: Duration = Duration::from_secs(300);
/// Repositories and their services one run asks for; more means that it asks for nonsense.
const MOST_KEPT: usize = 32;
/// How long a command waits for the helper to be there; git waits for itself after that.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// What git wants to be authorised for, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remote {
    /// `https`.
    pub protocol: String,
    /// `github.com`.
    pub host: String,
    /// `owner/name.git`.
    pub path: String,
}

/// Who gives credentials: the edge, under the run's lease.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// A credential for a repository.
    ///
    /// # Errors
    /// One sentence for whoever reads git's messages.
    async fn credential(&self, remote: &Remote) -> Result<CredentialResponse, String>;
}

/// A run's access to the repository its conversation is about.
pub(super) struct GitAccess {
    /// For example `https://github.com`.
    origin: String,
    wallet: Arc<Wallet>,
    /// The helper's other end, once it was needed.
    serving: Mutex<Option<Serving>>,
}

struct Serving {
    ready: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GitAccess {
    pub(super) fn new(origin: String, source: Arc<dyn CredentialSource>) -> Self {
        let wallet = Wallet {
            source,
            kept: Mutex::default(),
            given: Given::default(),
        };
        Self {
            origin,
            wallet: Arc::new(wallet),
            serving: Mutex::default(),
        }
    }

    /// What makes a shell's git ask the helper.
    pub(super) fn exports(&self, own_dir: &str) -> String {
        script::exports(&self.origin, &dir(own_dir))
    }

    /// Sees to it that somebody answers the helper, from now to the end of the context.
    pub(super) async fn serve(&self, context: &ToolContext) {
        let mut ready = self.start(context.sprite(), &dir(&context.own_dir()));
        if timeout(READY_WITHIN, ready.wait_for(|ready| *ready))
            .await
            .is_err()
        {
            tracing::warn!(run = context.run(), "git's credential helper is not up yet");
        }
    }

    fn start(&self, sprite: &Sprite, dir: &str) -> watch::Receiver<bool> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(serving) = serving.as_ref() {
            return serving.ready.clone();
        }
        let (up, ready) = watch::channel(false);
        let (sprite, dir, wallet) = (sprite.clone(), dir.to_owned(), self.wallet.clone());
        let origin = self.origin.clone();
        let task = tokio::spawn(async move {
            // First: who waits until the helper is there finds the way open.
            reach::open(&sprite, &origin).await;
            serve::for_ever(sprite, dir, wallet, up).await;
        });
        *serving = Some(Serving {
            ready: ready.clone(),
            task: task.abort_handle(),
        });
        ready
    }

    /// The text without any credential in it.
    pub(super) fn scrub(&self, text: String) -> String {
        self.wallet.given.scrub(text)
    }

    /// Stops answering.
    pub(super) fn close(&self) {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn dir(own_dir: &str) -> String {
    format!("{own_dir}/git")
}

/// The credentials of one run.
struct Wallet {
    source: Arc<dyn CredentialSource>,
    kept: Mutex<HashMap<Remote, (CredentialResponse, UnixMillis)>>,
    given: Given,
}

impl Wallet {
    async fn get(&self, remote: &Remote) -> Result<CredentialResponse, String> {
        let now = clock::now();
        let kept = |wallet: &Self| {
            let kept = wallet.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get(remote)
                .filter(|(_, until)| now < *until)
                .map(|(credential, _)| credential.clone())
        };
        if let Some(credential) = kept(self) {
            return Ok(credential);
        }
        let credential = self.source.credential(remote).await?;
        let is_plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control());
        if !is_plain(&credential.password)
            || !is_plain(&credential.username)
            || credential.username.contains(' ')
        {
            return Err("the edge gave a credential that git can't take".to_owned());
        }
        // Known as a secret before it is given away.
        self.given.note(&credential);
        let until = credential.expires_at.map_or(now + STATIC, |end| end - SPARE);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(remote.clone(), (credential.clone(), until));
        Ok(credential)
    }
}
