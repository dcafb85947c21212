//! Ingress: one file per channel, verify then normalise.

pub mod channel;
pub mod generic;
pub mod github;
pub mod signature;
pub mod telegram;
pub mod text;

#[cfg(test)]
mod mutation;
