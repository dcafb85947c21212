//! Ingress: one file per channel, verify then normalise.

pub mod channel;
