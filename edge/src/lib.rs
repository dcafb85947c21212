//! Roost's edge: stateless functions that verify webhooks, store them in libSQL, hand runs to runners and send replies.
//!
//! One axum router over five [ports], on three hosts. The compile target chooses the host; the core is the same.

pub mod auth;
pub mod db;
pub mod ingress;
pub mod integration;
pub mod outbox;
pub mod ports;
