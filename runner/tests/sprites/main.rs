//! The Sprites client against our own host, over loopback: commands, sessions, files, and who may not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod checkpoints;
mod commands;
mod control;
mod deaths;
mod files;
mod fixture;
mod hosts;
mod pool;
mod races;
mod ranges;
mod services;
mod sessions;
mod socket;
mod trees;
mod urls;
mod walls;
mod watches;
