//! Driving one run: what comes next is what the journal says, step by step, until it has ended, sleeps or is given back.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use roost_shared::{
    AgentId,
    event::EventBody,
    fail_point::{self, FailPoint},
    question::PATIENCE,
    run::Next,
    wire::Lease,
};

use super::{
    budget, context,
    ears::{Ears, Interrupt},
    journal::{EdgeStore, Journal, Stopped, Store},
    room::Room,
};
use crate::{
    clock,
    edge_client::EdgeClient,
    model::Gateway,
    random,
    sprite::Sprites,
    tool::{ToolContext, ToolDefinition, Tools},
    worker::{Control, Driver},
};

/// The most that chance adds to a pause, as a share of it.
const JITTER: f64 = 0.25;

/// And not more than this: a moment that was named is not missed by minutes.
const MOST_JITTER: Duration = Duration::from_secs(15);

/// How the brain behaves.
#[derive(Debug, Clone)]
pub struct BrainConfig {
    /// How long to keep trying to journal while the edge is away.
    pub patience: Duration,
    /// A failed model call is tried again after this, doubling.
    pub first_retry: Duration,
    /// A longer wait for the model than this is slept away on no runner: the run is parked. Pauses do not grow beyond it.
    pub longest_wait: Duration,
    /// Failed model calls in a row after which the run fails.
    pub model_attempts: u32,
    /// Looks for a sprite host that is away after which the run fails; it sleeps in between. The default is a quarter of
    /// an hour.
    pub sprite_attempts: u32,
    /// Share of the model's window, in percent, beyond which the conversation is summarised.
    pub compact_at_percent: u64,
}

impl Default for BrainConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            first_retry: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            model_attempts: 8,
            sprite_attempts: 20,
            compact_at_percent: 80,
        }
    }
}

impl BrainConfig {
    /// How long to wait before what failed is tried again: what was asked for, or twice as long each time, and a little
    /// more by chance, so that what failed together does not come back together.
    pub(super) fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let backoff = (self.first_retry * 2u32.pow(failures.min(16))).min(self.longest_wait);
        // What was asked for too little before is not believed again.
        self.jittered(asked.unwrap_or(backoff).max(backoff))
    }

    /// A little more by chance.
    pub(super) fn jittered(&self, pause: Duration) -> Duration {
        pause + pause.mul_f64(JITTER).min(MOST_JITTER).mul_f64(random::share())
    }
}

/// The built-in harness: drives runs with models and tools. Cheap to clone.
#[derive(Clone)]
pub struct Brain {
    pub(super) config: Arc<BrainConfig>,
    pub(super) gateway: Gateway,
    tools: Tools,
    sprites: Sprites,
    store: Arc<dyn Store>,
    pub(super) room: Arc<Room>,
}

impl Brain {
    /// A brain that journals through `edge`.
    pub fn new(
        config: BrainConfig,
        edge: EdgeClient,
        gateway: Gateway,
        tools: Tools,
        sprites: Sprites,
    ) -> Self {
        let store = Arc::new(EdgeStore {
            edge,
            patience: config.patience,
        });
        Self::with_store(config, store, gateway, tools, sprites)
    }

    /// A brain that journals in `store`.
    pub fn with_store(
        config: BrainConfig,
        store: Arc<dyn Store>,
        gateway: Gateway,
        tools: Tools,
        sprites: Sprites,
    ) -> Self {
        Self {
            config: Arc::new(config),
            gateway,
            tools,
            sprites,
            store,
            room: Arc::default(),
        }
    }
}

impl Driver for Brain {
    fn only(&self) -> Option<Vec<AgentId>> {
        self.room.only()
    }

    fn drive(&self, mut lease: Lease, control: Control) -> BoxFuture<'static, ()> {
        let brain = self.clone();
        Box::pin(async move {
            let run = lease.run;
            let journal = match Journal::open(brain.store.clone(), &mut lease) {
                Ok(journal) => Arc::new(journal),
                Err(error) => {
                    tracing::error!(%run, "{error}");
                    return;
                }
            };
            let sessions = journal.read(|state| state.sessions.clone()).await;
            let mut drive = Drive::new(brain, lease, control, journal);
            for (purpose, (sprite, session)) in sessions {
                if sprite == drive.lease.sprite {
                    drive.context.resume_session(&purpose, &session).await;
                }
            }
            if let Err(stopped) = drive.run().await {
                tracing::warn!(%run, "{stopped}");
            }
            // A run that goes on elsewhere needs its shell there.
            if drive.journal.read(|state| state.phase.is_terminal()).await {
                fail_point::reach(FailPoint::EndWritten);
                drive.context.close().await;
                drive.discard_sprite().await;
            }
        })
    }
}

/// One run being driven.
pub(super) struct Drive {
    pub(super) brain: Brain,
    pub(super) lease: Lease,
    pub(super) journal: Arc<Journal>,
    pub(super) system: Arc<[String]>,
    pub(super) tools: Tools,
    pub(super) definitions: Arc<[Arc<ToolDefinition>]>,
    /// What system prompt and tools take of every request, in bytes.
    pub(super) instructions: usize,
    pub(super) context: ToolContext,
    pub(super) sprites: Sprites,
    pub(super) sprite_is_there: bool,
    pub(super) ears: Ears,
}

impl Drive {
    fn new(brain: Brain, mut lease: Lease, control: Control, journal: Arc<Journal>) -> Self {
        let tools = brain.tools.only(&lease.agent.tools);
        let sprite = brain.sprites.sprite(&lease.sprite);
        let system = context::system(&lease.agent);
        let definitions = tools.definitions();
        Self {
            instructions: budget::of_instructions(&system, &definitions),
            system,
            definitions: definitions.into(),
            context: match &lease.git_origin {
                Some(origin) => {
                    let run = lease.run.to_string();
                    ToolContext::with_git(run, sprite, journal.clone(), origin, journal.clone())
                }
                None => ToolContext::new(lease.run.to_string(), sprite, journal.clone()),
            },
            sprites: brain.sprites.clone(),
            sprite_is_there: false,
            tools,
            brain,
            ears: Ears::new(control, std::mem::take(&mut lease.signals)),
            lease,
            journal,
        }
    }

    async fn run(&mut self) -> Result<(), Stopped> {
        loop {
            if let Some(interrupt) = self.ears.interrupted(&self.journal).await {
                if self.rests_after(interrupt).await? {
                    return Ok(());
                }
                continue;
            }
            self.listen().await?;
            let went = match self.journal.read(|state| state.next()).await {
                Next::Rest => return Ok(()),
                Next::CallModel => self.think().await?,
                Next::Compact => self.compact().await?,
                Next::RunTools(calls) => self.work(Vec::new(), calls).await?,
                Next::Complete(text) => {
                    fail_point::reach(FailPoint::EndReached);
                    self.journal.write(vec![completed(text)]).await?;
                    None
                }
                Next::Refused(text) => return self.journal.write(vec![refused(&text)]).await,
            };
            if let Some(interrupt) = went
                && self.rests_after(interrupt).await?
            {
                return Ok(());
            }
        }
    }

    /// Takes in what was said since the last turn.
    async fn listen(&mut self) -> Result<(), Stopped> {
        let ears = &mut self.ears;
        let events = self.journal.read(|state| ears.said(state)).await;
        if events.is_empty() {
            return Ok(());
        }
        self.journal.write(events).await
    }

    /// Stops the run; whether it rests then. It goes on where a pause was taken back before it was written.
    async fn rests_after(&mut self, interrupt: Interrupt) -> Result<bool, Stopped> {
        let event = match interrupt {
            Interrupt::Cancel { by } => EventBody::Cancelled { by, reason: None },
            Interrupt::Pause { by } => EventBody::Paused {
                by,
                until: clock::now() + PATIENCE,
            },
            Interrupt::Drain => EventBody::Released {
                reason: "the runner shuts down".into(),
            },
        };
        self.journal.write(vec![event]).await?;
        let rests = self.journal.read(|state| state.next()).await == Next::Rest;
        if !rests {
            self.ears.forget_pauses();
        }
        Ok(rests)
    }
}

/// The end of a run whose model is done.
pub(super) fn completed(text: String) -> EventBody {
    let reply = (!text.trim().is_empty()).then_some(text);
    EventBody::Completed { reply }
}

fn refused(text: &str) -> EventBody {
    let said = if text.trim().is_empty() {
        "it gave no reason"
    } else {
        text.trim()
    };
    EventBody::Failed {
        code: "model_refused".into(),
        message: format!("the model declined to go on ({said}); ask in another way or choose another model"),
    }
}
