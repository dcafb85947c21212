//! How the edge says no: a stable code for programs, one sentence for people.

use serde::{Deserialize, Serialize};

/// The JSON body of every error answer of the edge, sent as `{"error": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// What went wrong.
    pub error: Problem,
}

/// What went wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Stable, snake_case; `docs/reference/errors.md` has a line per code.
    pub code: String,
    /// One sentence: what happened and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with this code and sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}
