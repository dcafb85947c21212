//! What every channel's ingress file gives: verify the raw request, then say what was heard.
//!
//! Invariant: nothing of the body is parsed before its signature is proved.

use bytes::Bytes;
use http::HeaderMap;
use roost_shared::{
    UnixMillis,
    event::Change,
    work::{Actor, Conversation, Quote, ReplyTo},
};

use crate::{
    ingress::{generic, github, telegram},
    integration::{Secrets, Settings},
};

/// A webhook request as received.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its raw body.
    pub body: &'a Bytes,
    /// When it came.
    pub now: UnixMillis,
}

/// A request whose signature is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The provider's own id of the event, the same on every redelivery.
    pub dedupe_key: String,
}

/// Why a request was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No signature. 401.
    #[error("the request has no signature: the header {header} is missing")]
    SignatureMissing {
        /// The header that should carry it.
        header: String,
    },
    /// Not signed with the integration's secret. 401.
    #[error(
        "the signature does not fit: check that both sides have the same secret and that the body is sent unchanged"
    )]
    SignatureWrong,
    /// Signed too long ago, or in the future. 401.
    #[error("the request was signed {0} s away from now, more than the 300 s allowed: check both clocks")]
    SignatureOld(u64),
    /// A header the channel always sends is missing or malformed. 400.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// The body is not what the channel sends. 400.
    #[error("the body is not what this channel sends: {0}")]
    Malformed(String),
    /// The integration's secret is missing or unusable. 500.
    #[error("the integration's secret is not usable: {0}; enter it again")]
    Secret(&'static str),
}

impl Rejection {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SignatureMissing { .. } => "signature_missing",
            Self::SignatureWrong => "signature_wrong",
            Self::SignatureOld(_) => "signature_old",
            Self::Header(_) => "header_malformed",
            Self::Malformed(_) => "body_malformed",
            Self::Secret(_) => "integration_secret_unusable",
        }
    }
}

/// What a verified request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody said something.
    Heard(Box<Heard>),
    /// Somebody edited or deleted what they, or somebody else, had said; the text is the new one, or the one that is gone.
    Changed(Change, Box<Heard>),
    /// Nothing to do; stored with the reason: `from a bot`, `own message`, `event not listened to: push`.
    Ignored(String),
}

/// Somebody said something: a work item without its ids, and what routing rules look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The channel's own name of the event, e.g. `issue_comment.created`.
    pub kind: String,
    /// Who said it.
    pub actor: Actor,
    /// Where.
    pub conversation: Conversation,
    /// What.
    pub text: String,
    /// What it was said about, oldest first.
    pub context: Vec<Quote>,
    /// Where a reply goes.
    pub reply_to: ReplyTo,
    /// Names mentioned in `text`, without `@`, lower case.
    pub mentions: Vec<String>,
    /// Labels: those on the issue, or for a `labeled` event only the one added.
    pub labels: Vec<String>,
    /// Said to the bot itself: a private chat, a reply to it, a command to it, a mention of its account.
    pub to_bot: bool,
}

impl<'a> Request<'a> {
    /// A header's value if it is there, printable and of bearable length.
    pub(crate) fn text_header(&self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name)?.to_str().ok()?;
        (!value.is_empty() && value.len() <= 256).then_some(value)
    }
}

/// Proves that the request comes from the integration's channel. Nothing of the body is believed before.
///
/// # Errors
/// See [`Rejection`].
pub fn verify(settings: &Settings, secrets: &Secrets, request: Request<'_>) -> Result<Verified, Rejection> {
    match (settings, secrets) {
        (Settings::Github(_), Secrets::Github { webhook_secret, .. }) => {
            github::verify(webhook_secret, request)
        }
        (Settings::Telegram(_), Secrets::Telegram { secret_token, .. }) => {
            telegram::verify(secret_token, request)
        }
        (Settings::Generic(settings), Secrets::Generic { signing }) => {
            generic::verify(settings, signing, request)
        }
        _ => Err(Rejection::Secret("it belongs to another channel")),
    }
}

/// Says what a verified request comes to.
///
/// # Errors
/// See [`Rejection`].
pub fn normalise(settings: &Settings, request: Request<'_>) -> Result<Verdict, Rejection> {
    match settings {
        Settings::Github(settings) => github::normalise(settings, request),
        Settings::Telegram(settings) => telegram::normalise(settings, request),
        Settings::Generic(settings) => generic::normalise(settings, request),
    }
}
