//! What Roost's edge and its runners both speak: ids, journal events, wire types and the run's state machine.
//!
//! Nothing here does I/O or reads a clock, so the same code runs in the native edge, in a Worker, in a Spin
//! component and in the runner, and the state machine can be tested exhaustively.

#![forbid(unsafe_code)]

pub mod agent;
pub mod effect;
pub mod event;
pub mod fail_point;
pub mod id;
pub mod money;
pub mod outside;
pub mod problem;
pub mod question;
pub mod run;
pub mod size;
pub mod sprite;
pub mod text;
pub mod time;
pub mod transcript;
pub mod wire;
pub mod work;

pub use id::{
    AgentId, ConversationId, DeliveryId, EffectId, IntegrationId, PollId, PresenceId, ProcessId, RunId,
    SignalId, SubscriptionId, TokenId, WorkItemId,
};
pub use money::MicroUsd;
pub use time::UnixMillis;
