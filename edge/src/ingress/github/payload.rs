//! The parts of GitHub's webhook payloads that are read, after
//! [its reference](https://docs.github.com/en/webhooks/webhook-events-and-payloads).
//!
//! Everything is optional, because GitHub leaves out and nulls more than it documents (deleted accounts, old
//! Enterprise servers); what a verdict needs is asked for when it is formed.

use roost_shared::work::{Actor, Trust};
use serde::Deserialize;

use crate::ingress::text::cut_name;

/// A webhook's body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Payload {
    pub(super) action: Option<String>,
    pub(super) sender: Option<User>,
    pub(super) repository: Option<Repository>,
    pub(super) installation: Option<Installation>,
    pub(super) issue: Option<Issue>,
    pub(super) pull_request: Option<Issue>,
    pub(super) comment: Option<Comment>,
    pub(super) review: Option<Review>,
    pub(super) label: Option<Label>,
    pub(super) assignee: Option<User>,
    pub(super) requested_reviewer: Option<User>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) login: String,
    pub(super) id: Option<u64>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Repository {
    pub(super) full_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Installation {
    pub(super) id: u64,
}

/// An issue or a pull request: what is read of them has the same shape.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Issue {
    pub(super) number: u64,
    pub(super) title: Option<String>,
    pub(super) body: Option<String>,
    pub(super) html_url: Option<String>,
    pub(super) user: Option<User>,
    pub(super) author_association: Option<String>,
    pub(super) labels: Option<Vec<Label>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Label {
    pub(super) name: Option<String>,
}

/// A comment on an issue, a pull request or a diff.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) body: Option<String>,
    pub(super) user: Option<User>,
    pub(super) author_association: Option<String>,
    pub(super) in_reply_to_id: Option<u64>,
    pub(super) path: Option<String>,
    pub(super) line: Option<u64>,
    pub(super) diff_hunk: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Review {
    pub(super) body: Option<String>,
    pub(super) state: Option<String>,
    pub(super) user: Option<User>,
    pub(super) author_association: Option<String>,
}

impl User {
    /// As the actor, vouched for by `association`.
    pub(super) fn actor(&self, association: Option<&str>) -> Actor {
        let name = cut_name(&self.login);
        let trust = match association {
            Some("OWNER" | "MEMBER" | "COLLABORATOR") => Trust::Member,
            _ => Trust::Outsider,
        };
        Actor {
            id: self.id.map_or_else(|| name.clone(), |id| id.to_string()),
            name,
            trust,
        }
    }

    pub(super) fn is(&self, login: &str) -> bool {
        self.login.eq_ignore_ascii_case(login)
    }

    pub(super) fn is_bot(&self) -> bool {
        self.kind.as_deref() == Some("Bot") || self.login.ends_with("[bot]")
    }
}
