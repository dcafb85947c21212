//! The outbox: effects and one sender per channel.

pub mod channel;
