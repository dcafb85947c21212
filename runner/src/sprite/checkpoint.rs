//! Checkpoints of a sprite, from the client: take one, list them, go back to one.
//!
//! Invariant: a checkpoint that is returned is complete on the host; one that could not be completed is an error.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{
    Sprite, SpriteError,
    answer::{self, Answer},
    client::REQUEST_TIMEOUT,
};

/// Progress is a few short lines.
const MAX_PROGRESS_BYTES: usize = 1 << 20;
/// The id under which hosts list the present state of a sprite.
pub(super) const CURRENT: &str = "Current";

/// One checkpoint of a sprite: its file system as it was at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// `v1`, `v2`, …; `Current` for the present state in a listing.
    pub id: String,
    /// When it was taken, RFC 3339.
    #[serde(default)]
    pub create_time: String,
    /// What was said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The restores that led to its state, oldest first, each as `to=v1;time=2026-01-05T10:30:00Z`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// Whether the host took it by itself, before something risky.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_auto: bool,
    /// The checkpoint its state came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// Empty when healthy, else what is wrong: `damaged`, or `restore_unfinished` for the present state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub health: String,
}

/// One line of what a host reports while it takes or restores a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// `info`, `error` or `complete`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
}

/// Body of a request for a checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CreateCheckpoint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) comment: Option<String>,
}

impl Sprite {
    /// Takes a checkpoint of all files. Commands go on running; on our own host they stand still for the moment it takes.
    /// Meant to be done before risky work: [`Sprite::restore`] undoes that.
    pub async fn checkpoint(&self, comment: Option<&str>) -> Result<Checkpoint, SpriteError> {
        let body = CreateCheckpoint {
            comment: comment.map(str::to_owned),
        };
        let request = self
            .sprites()
            .request(Method::POST, self.url(&["checkpoint"]))
            .json(&body);
        let response = self
            .sprites()
            .send(request, || format!("sprite {}", self.name()))
            .await?;
        let said = self.completed(response, "checkpoint").await?;
        let all = self.checkpoints().await?;
        // Hosts name it in their last sentence only.
        let named = all.iter().find(|one| {
            said.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == one.id)
        });
        let newest = || {
            let own = all.iter().filter(|one| !one.is_auto && one.id != CURRENT);
            own.max_by(|a, b| a.create_time.cmp(&b.create_time))
        };
        named
            .or_else(newest)
            .cloned()
            .ok_or_else(|| SpriteError::protocol("the host took a checkpoint and does not list it"))
    }

    /// The sprite's checkpoints, automatic ones too, and its present state as `Current`.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, SpriteError> {
        let request = self
            .sprites()
            .request(Method::GET, self.url(&["checkpoints"]))
            .timeout(REQUEST_TIMEOUT);
        let what = || format!("sprite {}", self.name());
        answer::json(self.sprites().send(request, what).await?).await
    }

    /// Puts all files back to what they were at a checkpoint. This ends everything that runs in the sprite. Our own host
    /// first takes an automatic checkpoint of what is given up.
    pub async fn restore(&self, id: &str) -> Result<(), SpriteError> {
        let url = self.url(&["checkpoints", id, "restore"]);
        let what = || format!("checkpoint {id} of sprite {}", self.name());
        let response = self
            .sprites()
            .send(self.sprites().request(Method::POST, url), what)
            .await?;
        self.completed(response, "restore").await.map(drop)
    }

    /// Reads progress to its end; what `complete` says.
    async fn completed(&self, answer: Answer, what: &str) -> Result<String, SpriteError> {
        let whole = || format!("the {what} of sprite {}", self.name());
        let body = answer::limited(answer, MAX_PROGRESS_BYTES, whole).await?;
        for line in body.split(|byte| *byte == b'\n') {
            let Ok(progress) = serde_json::from_slice::<Progress>(line) else {
                continue;
            };
            match progress.kind.as_str() {
                "complete" => return Ok(progress.data.unwrap_or_default()),
                "error" => {
                    return Err(SpriteError::Refused {
                        status: 500,
                        reason: format!("{what}_failed"),
                        message: progress.error.or(progress.data).unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
        Err(SpriteError::unavailable(format!(
            "{} ended without a word",
            whole()
        )))
    }
}
