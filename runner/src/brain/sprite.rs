//! The run's sprite where it is missing: made when it is first needed, made anew when somebody has deleted it, and waited
//! for on no runner while its host is away.
//!
//! Invariant: no tool begins before the sprite was there, and no call that met a host that was away counts as made. A host
//! that stays away ends the run with a code; it is looked for ever more rarely, and the model is not asked meanwhile.

use roost_shared::{event::EventBody, run::PendingCall};

use super::{
    drive::{Drive, Interrupt},
    journal::Stopped,
    work::finished,
};
use crate::{clock, sprite::SpriteError, tool::ToolOutput};

/// What a call is answered with whose sprite was deleted under it.
const LOST: &str = "sprite_gone: your computer was deleted on its host, with all files, programs and running commands. \
     Your next call finds a new, empty one: fetch again what the task needs, and mention in your reply what was lost";

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
    /// Makes sure that the sprite exists.
    pub(super) async fn prepare_sprite(&mut self) -> Result<Result<Ready, Interrupt>, Stopped> {
        if self.sprite_is_there {
            return Ok(Ok(Ready::Yes));
        }
        let (sprites, name) = (self.sprites.clone(), self.lease.sprite.clone());
        let ensured = Self::unless_interrupted(self.control(), sprites.ensure(&name)).await;
        match ensured {
            Ok(Ok(_)) => {
                self.sprite_is_there = true;
                Ok(Ok(Ready::Yes))
            }
            Ok(Err(error)) => {
                self.without_sprite(Vec::new(), &error).await?;
                Ok(Ok(Ready::Rests))
            }
            Err(interrupt) => Ok(Err(interrupt)),
        }
    }

    /// The events of a step that was made. Where a call failed for the sprite's sake, the host is asked what became of it:
    /// calls that met a host that is away are left out, to be made again.
    pub(super) async fn made(&mut self, step: Vec<Made>) -> (Vec<EventBody>, Option<SpriteError>) {
        let in_doubt = |made: &Made| made.1.sprite_in_doubt;
        let look = match step.iter().any(in_doubt) {
            true => self.sprites.get(&self.lease.sprite).await.err(),
            false => None,
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

    /// Writes `events`, then sleeps until the host may be there again, or gives up.
    pub(super) async fn without_sprite(
        &self,
        mut events: Vec<EventBody>,
        error: &SpriteError,
    ) -> Result<(), Stopped> {
        let (code, config) = (error.code(), &self.brain.config);
        let parks = match events.is_empty() {
            true => self.journal.read(|state| state.parks).await,
            // A result is progress.
            false => 0,
        };
        events.push(if is_away(error) && parks + 1 < config.sprite_attempts {
            EventBody::Parked {
                until: clock::now() + config.pause(parks, error.retry_after()),
                reason: format!("{code}: {error}"),
            }
        } else {
            EventBody::Failed {
                code: code.into(),
                message: error.to_string(),
            }
        });
        self.journal.write(events).await
    }
}

/// It may come back by itself.
fn is_away(error: &SpriteError) -> bool {
    matches!(
        error,
        SpriteError::Unavailable { .. } | SpriteError::Limited { .. }
    )
}
