//! The wire format of Chat Completions (`POST …/chat/completions`) as OpenAI, OpenRouter, vLLM and Ollama speak it.
//!
//! Invariant: a thinking block's signature is the name of the field it came in, so that it can go back in the same.

mod body;
mod reader;

pub(super) use body::{OwnServers, body};
pub(super) use reader::Reader;

const REASONING_CONTENT: &str = "reasoning_content";
const REASONING: &str = "reasoning";
