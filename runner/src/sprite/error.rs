//! What can go wrong between the runner and a sprite host, sorted by what the caller does next.
//!
//! Invariant: every variant has one stable [`SpriteError::code`]; a caller decides by variant, never by message text.

use std::time::Duration;

use super::wire_files::FileErrorKind;

/// An error of the Sprites API, of the way to it, or of a file inside a sprite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpriteError {
    /// The sprite or exec session is not there, or not there any more (HTTP 404, 410).
    #[error("{what} does not exist on the sprite host; create it again or pick another one")]
    Gone {
        /// What was asked for, for example `sprite agent-7` or `session 12`.
        what: String,
    },
    /// The host refuses more work for now (HTTP 429): a creation rate or a limit on concurrent sprites.
    #[error("the sprite host is at its limit ({reason}): {message}")]
    Limited {
        /// The API's own code, for example `sprite_creation_rate_limited` or `concurrent_sprite_limit_exceeded`.
        reason: String,
        /// The API's sentence.
        message: String,
        /// How long the host asks to wait, when it says so.
        retry_after: Option<Duration>,
    },
    /// The host could not be reached, answered 5xx, or the connection was cut or went silent.
    #[error("the sprite host cannot be reached: {reason}; check its address and that it is running")]
    Unavailable {
        /// What failed.
        reason: String,
    },
    /// The host answered something that is not the Sprites API.
    #[error("the sprite host answered something unexpected: {reason}")]
    Protocol {
        /// What was wrong with the answer.
        reason: String,
    },
    /// The host understood the request and says no (other 4xx): bad token, bad name, forbidden.
    #[error("the sprite host refused the request ({status} {reason}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The API's own code, for example `unauthorized`.
        reason: String,
        /// The API's sentence.
        message: String,
    },
    /// A file operation failed inside the sprite.
    #[error("{path}: {message}")]
    File {
        /// Which kind, after the POSIX error name.
        kind: FileErrorKind,
        /// The path as it was asked for.
        path: String,
        /// The host's sentence.
        message: String,
    },
    /// An answer was larger than the caller's limit; nothing of it is returned.
    #[error("{what} is larger than the limit of {limit} bytes; read a part of it with a command instead")]
    TooLarge {
        /// What was read.
        what: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl SpriteError {
    /// The stable code of this error, snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "sprite_gone",
            Self::Limited { .. } => "sprite_limited",
            Self::Unavailable { .. } => "sprite_unavailable",
            Self::Protocol { .. } => "sprite_protocol",
            Self::Refused { .. } => "sprite_refused",
            Self::File { .. } => "sprite_file",
            Self::TooLarge { .. } => "sprite_too_large",
        }
    }

    /// How long the host asked to wait before the next attempt, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable {
            reason: reason.to_string(),
        }
    }

    pub(super) fn protocol(reason: impl ToString) -> Self {
        Self::Protocol {
            reason: reason.to_string(),
        }
    }
}
