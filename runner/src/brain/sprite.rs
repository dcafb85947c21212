//! The run's sprite where it is missing: made when it is first needed, made anew when somebody has deleted it, and waited
//! for on no runner while its host is away.
//!
//! Invariant: no tool begins before the sprite was there, and no call that met a host that was away counts as made. A host
//! that stays away ends the run with a code; it is looked for ever more rarely, and the model is not asked meanwhile.

use std::time::Duration;

use roost_shared::{event::EventBody, run::PendingCall, sprite::SpriteOwner};
use tokio::time::timeout;

use super::{drive::Drive, ears::Interrupt, journal::Stopped, room::Needs, work::finished};
use crate::{clock, sprite::SpriteError, tool::ToolOutput};

/// What a call is answered with whose sprite was deleted under it.
const LOST: &str = "sprite_gone: your computer was deleted on its host, with all files, programs and running commands. \
     Your next call finds a new, empty one: fetch again what the task needs, and mention in your reply what was lost";

/// A run that has ended does not wait longer than this for its sprite to go.
const DISCARD_WITHIN: Duration = Duration::from_secs(10);

/// A call and how it went.
pub(super) type Made = (PendingCall, ToolOutput, u64);

/// Whether tools can go on.
pub(super) enum Ready {
    /// They can.
    Yes,
    /// The run has ended or sleeps.
    Rests,
}

impl Drive {
    /// What is to be written before a sprite of the run's own is created.
    pub(super) async fn claim_sprite(&self) -> Option<EventBody> {
        let is_claimed = self.journal.read(|state| state.own_sprite.is_some()).await;
        (self.lease.agent.sprite == SpriteOwner::Run && !is_claimed).then(|| EventBody::SpriteClaimed {
            sprite: self.lease.sprite.clone(),
        })
    }

    /// Deletes the sprite of a run that has ended, if it had one of its own. One that can't be deleted now is found by
    /// [`super::sweep`].
    pub(super) async fn discard_sprite(&self) {
        let Some(sprite) = self.journal.read(|state| state.own_sprite.clone()).await else {
            return;
        };
        match timeout(DISCARD_WITHIN, self.sprites.delete(&sprite)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(sprite, %error, "the run's sprite is left to be swept up"),
            Err(_) => tracing::warn!(
                sprite,
                "the run's sprite is left to be swept up: its host is slow"
            ),
        }
    }

    /// Makes sure that the sprite exists.
    pub(super) async fn prepare_sprite(&mut self) -> Result<Result<Ready, Interrupt>, Stopped> {
        if self.sprite_is_there {
            return Ok(Ok(Ready::Yes));
        }
        let (sprites, name) = (self.sprites.clone(), self.lease.sprite.clone());
        let ensured = self
            .ears
            .unless_interrupted(Box::pin(sprites.ensure(&name)))
            .await;
        match ensured {
            Ok(Ok(_)) => {
                self.sprite_is_there = true;
                Ok(Ok(Ready::Yes))
            }
            Ok(Err(error)) => {
                self.without_sprite(Vec::new(), &error, Needs::New).await?;
                Ok(Ok(Ready::Rests))
            }
            Err(interrupt) => Ok(Err(interrupt)),
        }
    }

    /// The events of a step that was made. Calls that met a host at its limit are left out, to be made again. Where a call
    /// failed otherwise for the sprite's sake, the host is asked what became of it; calls that met one that is away are
    /// left out as well.
    pub(super) async fn made(&mut self, step: Vec<Made>) -> (Vec<EventBody>, Option<SpriteError>) {
        let in_doubt = |made: &Made| made.1.sprite_error.is_some();
        let errors = || step.iter().filter_map(|made| made.1.sprite_error.as_ref());
        let limit = errors()
            .filter(|error| matches!(error, SpriteError::Limited { .. }))
            .max_by_key(|error| error.retry_after())
            .cloned();
        let look = match (limit, errors().next()) {
            (Some(limit), _) => Some(limit),
            (None, Some(_)) => self.sprites.get(&self.lease.sprite).await.err(),
            (None, None) => None,
        };
        let (step, away) = match look {
            Some(SpriteError::Gone { .. }) => {
                self.sprite_is_there = false;
                let lost = |made: Made| match in_doubt(&made) {
                    true => (made.0, ToolOutput::error(LOST), made.2),
                    false => made,
                };
                (step.into_iter().map(lost).collect(), None)
            }
            Some(error) if is_away(&error) => {
                self.sprite_is_there = false;
                let kept = step.into_iter().filter(|made| !in_doubt(made)).collect();
                (kept, Some(error))
            }
            _ => (step, None),
        };
        let events = step
            .into_iter()
            .map(|(pending, output, took_ms)| finished(&pending, output, took_ms));
        (events.collect(), away)
    }

    /// Writes `events`, then sleeps until the host may be there again, or gives up. A limit passes some time, however long
    /// that takes, and meanwhile the runner takes no runs that would meet it too.
    pub(super) async fn without_sprite(
        &self,
        mut events: Vec<EventBody>,
        error: &SpriteError,
        needs: Needs,
    ) -> Result<(), Stopped> {
        let (code, config) = (error.code(), &self.brain.config);
        let parks = match events.is_empty() {
            true => self.journal.read(|state| state.parks).await,
            // A result is progress.
            false => 0,
        };
        let is_limit = matches!(error, SpriteError::Limited { .. });
        let goes_on = is_limit || (is_away(error) && parks + 1 < config.sprite_attempts);
        let pause = config.pause(parks, error.retry_after());
        events.push(if goes_on {
            EventBody::Parked {
                until: clock::now() + pause,
                reason: format!("{code}: {error}"),
            }
        } else {
            EventBody::Failed {
                code: code.into(),
                message: error.to_string(),
            }
        });
        self.journal.write(events).await?;
        if is_limit {
            self.brain.room.narrow(&self.sprites, needs, pause).await;
        }
        Ok(())
    }
}

/// It may come back by itself.
fn is_away(error: &SpriteError) -> bool {
    matches!(
        error,
        SpriteError::Unavailable { .. } | SpriteError::Limited { .. }
    )
}
