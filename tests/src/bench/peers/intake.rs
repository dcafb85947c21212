//! The systems that take webhooks, behind one interface: an address, a request's bytes, workers, and what is stored after
//! everything was killed.

use async_trait::async_trait;
use roost_runner::fixture::Signed;

use super::{
    arrivals::Arrivals,
    queues::{BullMq, Graphile},
    restate::Restate,
    roost::{Host, Roost},
};

/// A running system, empty when it starts; all its processes end when it is dropped.
#[async_trait]
pub(in crate::bench) trait Intake: Send + Sync {
    /// `127.0.0.1:PORT`.
    fn address(&self) -> &str;

    /// The event as this system takes it: a webhook wherever there is an endpoint for one.
    fn request(&self, event: &Signed) -> Vec<u8>;

    /// All its processes, databases included.
    fn processes(&mut self) -> Vec<u32>;

    /// Kills all its processes as a power cut would, starts what holds the data, and counts the events there, until it has
    /// found `expected` or has not found more for a while.
    async fn stored_after_crash(self: Box<Self>, expected: usize) -> usize;
}

/// The systems there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum System {
    Roost(Host),
    Restate,
    BullMq,
    Graphile,
}

impl System {
    /// Its name and the versions of what it consists of.
    pub(in crate::bench) fn name(self) -> String {
        match self {
            Self::Roost(host) => format!("Roost, {}", host.name()),
            Self::Restate => Restate::name(),
            Self::BullMq => BullMq::name(),
            Self::Graphile => Graphile::name(),
        }
    }

    /// Starts it; with `arrivals`, workers too, which report there when they begin on an event.
    pub(in crate::bench) async fn start(
        self,
        arrivals: Option<&Arrivals>,
    ) -> Result<Box<dyn Intake>, String> {
        Ok(match self {
            Self::Roost(host) => Box::new(Roost::start(host, arrivals).await),
            Self::Restate => Box::new(Restate::start(arrivals).await?),
            Self::BullMq => Box::new(BullMq::start(arrivals).await?),
            Self::Graphile => Box::new(Graphile::start(arrivals).await?),
        })
    }
}
