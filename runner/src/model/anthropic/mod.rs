//! The wire format of Anthropic Messages: `POST /v1/messages`, version 2023-06-01.
//!
//! Invariant: what a request holds and what an answer means is decided here and nowhere else.

mod body;
mod reader;

pub(super) use body::body;
pub(super) use reader::Reader;
