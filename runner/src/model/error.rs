//! How a model call fails, sorted by what the caller does next.
//!
//! Invariant: every variant has one stable [`ModelError::code`] and a sentence that says what to do; no sentence holds a key.

use std::time::Duration;

/// A model call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The agent's model does not name a provider, or one that isn't configured.
    #[error(
        "no provider for the model {model:?}: write `provider/model` with a configured provider ({known})"
    )]
    ProviderUnknown {
        /// The agent's model.
        model: String,
        /// The configured providers, or that there are none.
        known: String,
    },
    /// The provider's settings can't be used: the URL is not one, the key has characters a header can't have.
    #[error("the provider {provider:?} can't be used: {reason}; correct its settings")]
    ProviderInvalid {
        /// The provider.
        provider: String,
        /// What is wrong.
        reason: String,
    },
    /// HTTP 401 or 403.
    #[error("{provider} refuses the key ({said}); set a valid key for this provider")]
    KeyRefused {
        /// The provider.
        provider: String,
        /// The provider's own sentence.
        said: String,
    },
    /// The account has no credit left.
    #[error("{provider} wants to be paid first ({said}); top up the account or raise its limit")]
    NoCredit {
        /// The provider.
        provider: String,
        /// The provider's own sentence.
        said: String,
    },
    /// The provider has no such model, or nothing at that URL.
    #[error("{provider} has no model {model:?} ({said}); choose another model or check the provider's URL")]
    NotFound {
        /// The provider.
        provider: String,
        /// The model.
        model: String,
        /// The provider's own sentence.
        said: String,
    },
    /// The provider does not take the request.
    #[error("{provider} refuses the request ({said}); trying again would not help")]
    RequestInvalid {
        /// The provider.
        provider: String,
        /// The provider's own sentence.
        said: String,
    },
    /// The conversation no longer fits the model's window.
    #[error(
        "the conversation no longer fits the model's window ({said}); shorten it or choose a larger model"
    )]
    ContextExceeded {
        /// The window in tokens, where the provider says it.
        limit: Option<u64>,
        /// The provider's own sentence.
        said: String,
    },
    /// HTTP 429.
    #[error("{provider} limits the rate ({said}); try again later or raise the limit")]
    RateLimited {
        /// The provider.
        provider: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// The provider's own sentence.
        said: String,
    },
    /// The model was not asked: it has refused for its rate, and the time it named is not over.
    #[error("{provider} limits the rate for {} s more; nobody asks it until then", wait.as_secs().max(1))]
    Limited {
        /// The provider.
        provider: String,
        /// What is left of it.
        wait: Duration,
    },
    /// HTTP 529 or 503, or its form in the middle of a stream.
    #[error("{provider} is overloaded ({said}); try again later")]
    Overloaded {
        /// The provider.
        provider: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// The provider's own sentence.
        said: String,
    },
    /// The provider can't be reached, is silent, or answers with an error of its own.
    #[error("{provider} is not available ({reason}); check its URL and status, then try again")]
    Unavailable {
        /// The provider.
        provider: String,
        /// What happened.
        reason: String,
    },
    /// The answer broke off. What it had said so far may have been billed.
    #[error("the answer of {provider} broke off ({reason}); try again")]
    StreamCut {
        /// The provider.
        provider: String,
        /// How.
        reason: String,
    },
    /// The answer is not what the API promises.
    #[error(
        "the answer of {provider} can't be read ({reason}); check that the URL leads to the API it is set up as"
    )]
    AnswerMalformed {
        /// The provider.
        provider: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than allowed; nothing of it is kept.
    #[error("the answer is larger than {limit} bytes; lower the agent's max_output_tokens")]
    AnswerTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl ModelError {
    /// The stable code of this error, snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ProviderUnknown { .. } => "model_provider_unknown",
            Self::ProviderInvalid { .. } => "model_provider_invalid",
            Self::KeyRefused { .. } => "model_key_refused",
            Self::NoCredit { .. } => "model_no_credit",
            Self::NotFound { .. } => "model_not_found",
            Self::RequestInvalid { .. } => "model_request_invalid",
            Self::ContextExceeded { .. } => "model_context_exceeded",
            Self::RateLimited { .. } => "model_rate_limited",
            Self::Limited { .. } => "model_limited",
            Self::Overloaded { .. } => "model_overloaded",
            Self::Unavailable { .. } => "model_unavailable",
            Self::StreamCut { .. } => "model_stream_cut",
            Self::AnswerMalformed { .. } => "model_answer_malformed",
            Self::AnswerTooLarge { .. } => "model_answer_too_large",
        }
    }

    /// How long the provider asks to wait, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Overloaded { retry_after, .. } => *retry_after,
            Self::Limited { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// The same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::Limited { .. }
                | Self::Overloaded { .. }
                | Self::Unavailable { .. }
                | Self::StreamCut { .. }
                | Self::AnswerMalformed { .. }
        )
    }
}
