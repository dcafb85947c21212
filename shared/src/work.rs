//! Work items: what every channel's events are turned into, and where a reply to them goes.
//!
//! Text in a work item comes from outside: it is data, marked with who said it.

use serde::{Deserialize, Serialize};

use crate::{IntegrationId, UnixMillis, WorkItemId};

/// The normalised event: who, where, what was said, in which conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkItem {
    /// This work item.
    pub id: WorkItemId,
    /// The integration it came in by.
    pub integration: IntegrationId,
    /// The channel's own name of the event, e.g. `issue_comment.created`, `message`.
    pub kind: String,
    /// Who said it.
    pub actor: Actor,
    /// Where it was said.
    pub conversation: Conversation,
    /// What was said, as the channel gave it.
    pub text: String,
    /// What it was said about: the issue's title and body, the message replied to. Oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<Quote>,
    /// Where a reply goes.
    pub reply_to: ReplyTo,
    /// When it was received.
    pub received_at: UnixMillis,
}

impl WorkItem {
    /// The name of the text it holds within its conversation, the same when the text is edited or deleted. None where
    /// something was done rather than said, and where the channel has no names for texts.
    pub fn message(&self) -> Option<String> {
        match &self.reply_to {
            ReplyTo::Github { subject, .. } => match subject {
                GithubSubject::IssueComment(id) => Some(format!("comment/{id}")),
                GithubSubject::ReviewComment(id) => Some(format!("review_comment/{id}")),
                GithubSubject::Issue => {
                    let is_text = [".opened", ".edited", ".deleted"]
                        .iter()
                        .any(|action| self.kind.ends_with(action));
                    is_text.then(|| "issue".to_owned())
                }
            },
            ReplyTo::Telegram { message, .. } => Some(format!("message/{message}")),
            ReplyTo::Generic { .. } => None,
        }
    }
}

/// The thread in the channel a work item belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The channel's own key, unique within the integration: `octo/repo#12`, `-100123/7`.
    pub key: String,
    /// What people call it; may be empty.
    #[serde(default)]
    pub title: String,
    /// Where people can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Who said something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The channel's own id of them.
    pub id: String,
    /// The name people know them by: a login, a display name.
    pub name: String,
    /// How far the channel itself vouches for them.
    pub trust: Trust,
}

/// How far the channel vouches for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Owner, member or collaborator of where it was said.
    Member,
    /// Anybody else, or unknown.
    Outsider,
}

impl Trust {
    /// Its name in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Outsider => "outsider",
        }
    }
}

/// A piece of text something was said about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What it is, e.g. `issue title`, `issue body`, `message replied to`.
    pub label: String,
    /// Who wrote it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// The text, as the channel gave it.
    pub text: String,
}

/// Where a reply to a work item goes, in the channel's own terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum ReplyTo {
    /// A comment on a GitHub issue or pull request, or in a thread of a review.
    Github {
        /// `owner/name`.
        repository: String,
        /// The issue's or pull request's number.
        number: u64,
        /// What was said, to react to.
        subject: GithubSubject,
        /// The first comment of the review thread it was said in: the reply joins that thread.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<u64>,
        /// The App's installation, when the App delivered the event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        installation: Option<u64>,
    },
    /// A message in a Telegram chat.
    Telegram {
        /// The chat.
        chat: i64,
        /// The forum topic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<i64>,
        /// The message replied to.
        message: i64,
    },
    /// A POST to the integration's `reply_url`, or nowhere where it has none.
    Generic {
        /// The conversation's key, so that the receiver knows what is answered.
        conversation: String,
        /// The sender's id of the event, or its body's hash.
        event: String,
    },
}

/// The thing on GitHub that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum GithubSubject {
    /// The issue or pull request itself.
    Issue,
    /// A comment on an issue or pull request, by its id.
    IssueComment(u64),
    /// A review comment on a pull request's diff, by its id.
    ReviewComment(u64),
}
