//! Room on the sprite host: while it makes no more sprites, or wakes none, the runner takes only runs that need none.
//!
//! Invariant: what is kept here narrows which runs are taken and nothing else, and only until a moment; a run that meets the
//! limit all the same waits for it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use roost_shared::{
    AgentId,
    sprite::{AGENT_PREFIX, agent_of},
};
use tokio::time::{Instant, timeout};

use crate::sprite::{SpriteInfo, Sprites};

/// The state in which a sprite takes none of the host's memory, and has to be woken.
const COLD: &str = "cold";
/// Listing is for a hint; nothing waits long for it.
const LIST_WITHIN: Duration = Duration::from_secs(10);
/// Agents named at most; those beyond wait.
const MOST: usize = 4_096;

/// What a run needed and did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A new sprite.
    New,
    /// A sprite that is there, awake.
    Awake,
}

/// Which runs the host has room for.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Option<Narrowed>>);

#[derive(Debug)]
struct Narrowed {
    until: Instant,
    agents: Vec<AgentId>,
}

impl Room {
    /// The agents whose runs may be taken, if not all.
    pub(super) fn only(&self) -> Option<Vec<AgentId>> {
        let mut narrowed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if narrowed
            .as_ref()
            .is_some_and(|narrowed| narrowed.until <= Instant::now())
        {
            *narrowed = None;
        }
        narrowed.as_ref().map(|narrowed| narrowed.agents.clone())
    }

    /// For so long, take only runs of agents that have what could not be given.
    pub(super) async fn narrow(&self, sprites: &Sprites, needs: Needs, span: Duration) {
        let until = Instant::now() + span;
        let there = timeout(LIST_WITHIN, sprites.list(AGENT_PREFIX)).await;
        let there = there.ok().and_then(Result::ok).unwrap_or_default();
        let has = |sprite: &SpriteInfo| needs == Needs::New || sprite.status != COLD;
        let agents: Vec<_> = there
            .iter()
            .filter(|sprite| has(sprite))
            .filter_map(|sprite| agent_of(&sprite.name))
            .take(MOST)
            .collect();
        tracing::warn!(
            agents = agents.len(),
            seconds = span.as_secs(),
            ?needs,
            "the sprite host is at its limit; until it has room, only runs of agents that have a sprite are taken"
        );
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Narrowed { until, agents });
    }
}
