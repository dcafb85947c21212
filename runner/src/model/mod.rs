//! The one gateway to models: every model call of every run goes through [`Gateway`].
//!
//! Two wire formats, Anthropic Messages and OpenAI-compatible Chat Completions, end in one [`Answer`]; a request built
//! twice from one transcript is the same bytes twice, so that providers can cache its beginning.
//!
//! [`Answer`]: roost_shared::transcript::Answer

mod answer;
mod anthropic;
mod config;
mod error;
mod failure;
mod gate;
mod gateway;
mod openai;
pub mod price;
mod provider;
mod request;
mod stream;

pub use answer::Delta;
pub use config::{Api, ModelConfig, ModelSettings, Patience, ProviderConfig, Secret};
pub use error::ModelError;
pub use gateway::Gateway;
pub use request::ModelRequest;
pub use stream::{AnswerStream, Piece};
