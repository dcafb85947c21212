//! What is heard in an event of GitHub.
//!
//! Invariant: only what a person newly said or did to call the bot is heard, and what became of it since. Everything else is
//! ignored with a reason, above all what the bot itself wrote, so that it never answers itself.

use std::borrow::Cow;

use roost_shared::{
    event::Change,
    work::{Actor, Conversation, GithubSubject, Quote, ReplyTo, Trust},
};

use super::{
    MARKER, ignored, is_full_name,
    payload::{Comment, Issue, Payload, Repository, User},
};
use crate::{
    ingress::{
        channel::{Heard, Verdict},
        text::{LIST_LIMIT, QUOTE_LIMIT, TEXT_LIMIT, cut, cut_name, mentions_in_markdown, web_address},
    },
    integration::GithubSettings,
};

/// One event under judgement. An `Err` of its functions names what the payload lacks.
pub(super) struct Listener<'a> {
    pub(super) settings: &'a GithubSettings,
    pub(super) payload: &'a Payload,
    pub(super) kind: &'a str,
}

/// What differs from event to event.
struct Said<'a> {
    by: Actor,
    text: Cow<'a, str>,
    subject: GithubSubject,
    context: Vec<Quote>,
}

impl Listener<'_> {
    pub(super) fn listen(&self) -> Result<Verdict, &'static str> {
        let sender = self.payload.sender.as_ref().ok_or("sender")?;
        let said = match self.kind {
            "issues.opened"
            | "pull_request.opened"
            | "issues.edited"
            | "pull_request.edited"
            | "issues.deleted" => self.opened()?,
            "issues.labeled" | "pull_request.labeled" => {
                let label = self.label().ok_or("label")?;
                self.done(sender, format!("added the label “{label}”"))?
            }
            "issues.assigned" | "pull_request.assigned" if self.calls_bot(self.payload.assignee.as_ref()) => {
                self.done(sender, format!("assigned this to {}", self.settings.bot_login))?
            }
            "pull_request.review_requested" if self.calls_bot(self.payload.requested_reviewer.as_ref()) => {
                self.done(sender, format!("asked {} for a review", self.settings.bot_login))?
            }
            "issue_comment.created" | "issue_comment.edited" | "issue_comment.deleted" => self.commented()?,
            "pull_request_review.submitted" => self.reviewed()?,
            "pull_request_review_comment.created"
            | "pull_request_review_comment.edited"
            | "pull_request_review_comment.deleted" => self.commented_on_diff()?,
            kind => return Ok(ignored(format!("event not listened to: {kind}"))),
        };
        if sender.is(&self.settings.bot_login) || is_marked(&said.text) {
            return Ok(ignored("own message"));
        }
        if sender.is_bot() {
            return Ok(ignored("from a bot"));
        }
        if said.text.trim().is_empty() {
            return Ok(ignored("no text"));
        }
        let heard = Box::new(self.heard(said)?);
        Ok(match self.payload.action.as_deref() {
            Some("edited") => Verdict::Changed(Change::Edited, heard),
            Some("deleted") => Verdict::Changed(Change::Deleted, heard),
            _ => Verdict::Heard(heard),
        })
    }

    fn heard(&self, said: Said<'_>) -> Result<Heard, &'static str> {
        let issue = self.issue()?;
        let repository = self.repository()?;
        let mentions = mentions_in_markdown(&said.text);
        let to_bot = mentions
            .iter()
            .any(|name| is_handle_of(name, &self.settings.bot_login))
            || self.kind.ends_with(".assigned")
            || self.kind.ends_with(".review_requested");
        let labels = match self.kind.ends_with(".labeled") {
            true => self.label().into_iter().collect(),
            false => label_names(issue),
        };
        let thread = match said.subject {
            GithubSubject::ReviewComment(id) => Some(
                self.payload
                    .comment
                    .as_ref()
                    .and_then(|comment| comment.in_reply_to_id)
                    .unwrap_or(id),
            ),
            GithubSubject::Issue | GithubSubject::IssueComment(_) => None,
        };
        Ok(Heard {
            kind: self.kind.to_owned(),
            actor: said.by,
            conversation: Conversation {
                key: format!("{}#{}", repository.full_name, issue.number),
                title: cut_name(issue.title.as_deref().unwrap_or_default()),
                url: web_address(issue.html_url.as_deref()),
            },
            text: cut(&said.text, TEXT_LIMIT),
            context: said.context,
            reply_to: ReplyTo::Github {
                repository: repository.full_name.clone(),
                number: issue.number,
                subject: said.subject,
                thread,
                installation: self
                    .payload
                    .installation
                    .as_ref()
                    .map(|installation| installation.id),
            },
            mentions,
            labels,
            to_bot,
        })
    }

    /// An issue or pull request was opened: its title and body are what was said.
    fn opened(&self) -> Result<Said<'_>, &'static str> {
        let issue = self.issue()?;
        let title = issue.title.as_deref().unwrap_or_default().trim();
        let body = issue.body.as_deref().unwrap_or_default();
        Ok(Said {
            by: self.author(issue)?,
            text: Cow::Owned(format!("{title}\n\n{body}")),
            subject: GithubSubject::Issue,
            context: Vec::new(),
        })
    }

    /// The sender did something that is not a text: labelled, assigned, asked for a review.
    ///
    /// All of that takes the triage role at least, which makes the sender a member; but GitHub also sends `labeled` in
    /// the name of whoever opened an issue from a template that sets labels, so an author is judged as the author.
    fn done(&self, sender: &User, deed: String) -> Result<Said<'_>, &'static str> {
        let issue = self.issue()?;
        let by = match &issue.user {
            Some(author) if author.is(&sender.login) => self.author(issue)?,
            _ => Actor {
                trust: Trust::Member,
                ..sender.actor(None)
            },
        };
        Ok(Said {
            by,
            text: Cow::Owned(deed),
            subject: GithubSubject::Issue,
            context: quotes(issue),
        })
    }

    fn commented(&self) -> Result<Said<'_>, &'static str> {
        let comment = self.comment()?;
        Ok(Said {
            by: self.commenter(comment)?,
            text: Cow::Borrowed(comment.body.as_deref().unwrap_or_default()),
            subject: GithubSubject::IssueComment(comment.id),
            context: quotes(self.issue()?),
        })
    }

    fn commented_on_diff(&self) -> Result<Said<'_>, &'static str> {
        let comment = self.comment()?;
        let mut context = quotes(self.issue()?);
        if let Some(hunk) = &comment.diff_hunk {
            let path = cut_name(comment.path.as_deref().unwrap_or("a file"));
            let line = comment
                .line
                .map(|line| format!(", line {line}"))
                .unwrap_or_default();
            context.push(Quote {
                label: format!("diff of {path}{line}"),
                by: None,
                text: cut(hunk, QUOTE_LIMIT),
            });
        }
        Ok(Said {
            by: self.commenter(comment)?,
            text: Cow::Borrowed(comment.body.as_deref().unwrap_or_default()),
            subject: GithubSubject::ReviewComment(comment.id),
            context,
        })
    }

    fn reviewed(&self) -> Result<Said<'_>, &'static str> {
        let review = self.payload.review.as_ref().ok_or("review")?;
        let user = review
            .user
            .as_ref()
            .or(self.payload.sender.as_ref())
            .ok_or("review.user")?;
        let mut context = quotes(self.issue()?);
        context.extend(review.state.as_deref().map(|state| Quote {
            label: "review verdict".to_owned(),
            by: None,
            text: cut_name(state),
        }));
        Ok(Said {
            by: user.actor(review.author_association.as_deref()),
            text: Cow::Borrowed(review.body.as_deref().unwrap_or_default()),
            subject: GithubSubject::Issue,
            context,
        })
    }

    fn issue(&self) -> Result<&Issue, &'static str> {
        let issue = self.payload.issue.as_ref().or(self.payload.pull_request.as_ref());
        issue
            .filter(|issue| issue.number > 0)
            .ok_or("an issue or pull request")
    }

    fn comment(&self) -> Result<&Comment, &'static str> {
        self.payload
            .comment
            .as_ref()
            .filter(|comment| comment.id > 0)
            .ok_or("comment")
    }

    fn repository(&self) -> Result<&Repository, &'static str> {
        let repository = self.payload.repository.as_ref();
        repository
            .filter(|repository| is_full_name(&repository.full_name))
            .ok_or("repository")
    }

    fn author(&self, issue: &Issue) -> Result<Actor, &'static str> {
        let user = issue
            .user
            .as_ref()
            .or(self.payload.sender.as_ref())
            .ok_or("the author")?;
        Ok(user.actor(issue.author_association.as_deref()))
    }

    fn commenter(&self, comment: &Comment) -> Result<Actor, &'static str> {
        let user = comment
            .user
            .as_ref()
            .or(self.payload.sender.as_ref())
            .ok_or("comment.user")?;
        Ok(user.actor(comment.author_association.as_deref()))
    }

    fn label(&self) -> Option<String> {
        let label = self.payload.label.as_ref()?;
        label.name.as_deref().map(cut_name)
    }

    fn calls_bot(&self, user: Option<&User>) -> bool {
        user.is_some_and(|user| user.is(&self.settings.bot_login))
    }
}

/// The issue's title and body.
fn quotes(issue: &Issue) -> Vec<Quote> {
    let by = issue
        .user
        .as_ref()
        .map(|user| user.actor(issue.author_association.as_deref()));
    let quote = |label: &str, text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.trim().is_empty())?;
        Some(Quote {
            label: label.to_owned(),
            by: by.clone(),
            text: cut(text, QUOTE_LIMIT),
        })
    };
    [quote("title", &issue.title), quote("description", &issue.body)]
        .into_iter()
        .flatten()
        .collect()
}

fn label_names(issue: &Issue) -> Vec<String> {
    let labels = issue.labels.iter().flatten();
    labels
        .filter_map(|label| label.name.as_deref().map(cut_name))
        .take(LIST_LIMIT)
        .collect()
}

/// An App named `roost` appears as `roost[bot]` and is mentioned as `@roost`.
fn is_handle_of(mentioned: &str, bot_login: &str) -> bool {
    mentioned.eq_ignore_ascii_case(bot_login.strip_suffix("[bot]").unwrap_or(bot_login))
}

fn is_marked(text: &str) -> bool {
    let last_line = text.trim_end().lines().next_back().unwrap_or_default();
    last_line.starts_with(MARKER) && last_line.ends_with("-->")
}
