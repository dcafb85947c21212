//! The Sprites client against our own host, over loopback: commands, sessions, files, and who may not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checkpoints;
mod commands;
mod files;
mod fixture;
mod hosts;
mod sessions;
mod trees;
mod walls;
