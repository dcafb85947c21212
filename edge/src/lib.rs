//! Roost's edge: stateless functions that verify webhooks, store them in libSQL, hand runs to runners and send replies.
//!
//! One axum router over five [ports], on three hosts. The compile target chooses the host; the core is the same.

pub mod admin;
pub mod api;
pub mod auth;
pub mod bells;
pub mod config;
pub mod db;
pub mod edge;
pub mod error;
pub mod host;
pub mod ingress;
pub mod integration;
mod once;
pub mod outbox;
pub mod ports;
pub mod runs;
pub mod setup;
